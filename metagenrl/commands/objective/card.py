"""`metagenrl objective card RUN --out DIR`: an objective as files that stand alone, with a card."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from metagenrl.base.checks import UsageError, require
from metagenrl.base.paths import check_writable
from metagenrl.commands.parsing import parse
from metagenrl.objective_server.snapshots.version import Version, version_of
from metagenrl.runs.config.yaml import build
from metagenrl.runs.folder import run_of
from metagenrl.runs.kinds import no_objective
from metagenrl.runs.machine.identity import read_identity

if TYPE_CHECKING:
    from metagenrl.analysis.card.text import CardFacts

CARD = "README.md"
"""The card's file: model hubs show it under this name."""
_OF_A_CARD = "library_name: metagenrl"


@dataclass(frozen=True, kw_only=True)
class CardConfig:
    """Write a learned objective as files to pass on, with a model card."""

    objective: Positional[Path]
    """Folder of a meta-training run, a snapshot file, or `pretrained[:NAME]`."""
    out: Path
    """Folder for README.md (the card), NAME.safetensors and NAME.yaml."""
    name: str = "objective"
    """Name of the objective and of its files."""
    version: str = "best"
    """Version of alpha within a run's folder: a number, `best` or `last`."""
    tests: tuple[Path, ...] = ()
    """Folders of `metagenrl test` and `metagenrl baseline` runs, whose scores the card shows."""
    study: Path | None = None
    """Markdown file of a study with its own tables, as `metagenrl experiment` writes it."""
    selection: str = ""
    """How this objective was chosen, and in which environments."""
    limits: str = ""
    """Limits of this objective, beside those that every card names."""
    licence: str = "apache-2.0"
    """Licence, as model hubs name it."""
    commit: str = ""
    """Commit of the code that trained it; "": as the run's run.json says."""
    push: str = ""
    """Also upload the folder to this repository (USER/NAME) of the Hugging Face hub. Needs
    `pip install huggingface_hub` and a login; not tested: there was no network to test it with."""

    def __post_init__(self) -> None:
        allowed = "letters, digits, '.', '_', '-', first a letter or digit"
        fine = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name) is not None
        require(fine, "name", self.name, allowed)
        version_of(self.version)

    @property
    def wanted(self) -> Version:
        """`version` as `find_snapshot` takes it."""
        return version_of(self.version)


def card_config(argv: Sequence[str]) -> CardConfig:
    """The configuration of `metagenrl objective card`. Raises `UsageError`."""
    return build(CardConfig, parse(CardConfig, argv))


def check_card(config: CardConfig) -> None:
    """Refuse what is no objective, tests that cannot be read, and an unusable `out`."""
    _facts(config)
    check_writable("out", config.out)
    _check_free(config)
    if config.push:
        _hub()


def _check_free(config: CardConfig) -> None:
    """Refuse to write over a file, unless the folder's card is one of ours."""
    card = config.out / CARD
    if card.is_file() and _OF_A_CARD in card.read_text(encoding="utf-8", errors="replace"):
        return
    for name in (CARD, f"{config.name}.safetensors", f"{config.name}.yaml"):
        if (config.out / name).exists():
            raise UsageError(
                f"out: got {str(config.out)!r} (its {name} is not of this command), allowed: a "
                "folder without it"
            )


def _facts(config: CardConfig) -> CardFacts:
    from metagenrl.analysis.card.scores import test_scores
    from metagenrl.analysis.card.text import CardFacts
    from metagenrl.objective_server.snapshots.find import find_snapshot
    from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
    from metagenrl.runs.config.stored import stored_config
    from metagenrl.runs.config.train import TrainConfig
    from metagenrl.runs.folder import training_file_of

    try:
        snapshot = ObjectiveSnapshot.load(find_snapshot(config.objective, config.wanted))
    except ValueError as error:
        raise no_objective(error, config.objective, str(config.objective)) from error
    if snapshot.version == 0:
        raise UsageError(
            f"objective: got {str(config.objective)!r} (version 0, which has learned nothing), "
            "allowed: version 1 or later"
        )
    if config.study is not None and not config.study.is_file():
        raise UsageError(f"study: got {str(config.study)!r}, allowed: a Markdown file")
    file = training_file_of(config.objective)
    return CardFacts(
        name=config.name,
        snapshot=snapshot,
        training=None if file is None else stored_config(TrainConfig, file, "objective"),
        scores=test_scores(config.tests, snapshot.alpha) if config.tests else (),
        study=config.study.read_text(encoding="utf-8") if config.study is not None else "",
        selection=config.selection,
        limits=config.limits,
        commit=config.commit or _commit_of(config.objective),
        licence=config.licence,
    )


def _commit_of(objective: Path) -> str:
    """What the run of an objective notes; "" where it is not there."""
    run = run_of(objective)
    identity = None if run is None else read_identity(run)
    return "" if identity is None else identity.commit


def write_card(config: CardConfig) -> int:
    """Write the files, and print what was written; 0."""
    from metagenrl.analysis.card.text import card
    from metagenrl.base.files.atomic import write_atomic
    from metagenrl.runs.config.yaml import to_yaml

    facts = _facts(config)
    config.out.mkdir(parents=True, exist_ok=True)
    snapshot = config.out / f"{config.name}.safetensors"
    write_atomic(snapshot, [facts.snapshot.to_bytes()])
    written = [snapshot]
    if facts.training is not None:
        training = config.out / f"{config.name}.yaml"
        # Where the run lay is nobody else's business.
        public = replace(facts.training, run_dir=Path("runs") / config.name, resume=None)
        write_atomic(training, [to_yaml(public).encode()])
        written.append(training)
    write_atomic(config.out / CARD, [card(facts).encode()])
    print("\n".join(f"written: {path}" for path in (*written, config.out / CARD)))
    if config.push:
        _hub().HfApi().upload_folder(repo_id=config.push, folder_path=str(config.out))
        print(f"pushed to {config.push}")
    return 0


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise UsageError(
            "push: huggingface_hub is not installed, allowed: after `pip install huggingface_hub`"
        ) from None
    return huggingface_hub
