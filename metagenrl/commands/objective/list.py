"""`metagenrl objective list`: the objectives that come with the package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from metagenrl.base.wording import counted
from metagenrl.commands.parsing import parse
from metagenrl.objective_server.snapshots.pretrained import (
    DEFAULT,
    WORD,
    card_of,
    pretrained_file,
    pretrained_names,
)
from metagenrl.runs.config.yaml import build


@dataclass(frozen=True)
class ListConfig:
    """List the objectives that come with the package, with their cards."""

    cards: bool = False
    """Print the cards as well."""


def list_config(argv: Sequence[str]) -> ListConfig:
    """The configuration of `metagenrl objective list`. Raises `UsageError`."""
    return build(ListConfig, parse(ListConfig, argv))


def list_objectives(config: ListConfig) -> int:
    """Print a line for each objective and where its card is; 0."""
    from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot

    names = pretrained_names()
    if not names:
        print("no objective comes with this installation")
    for name in names:
        snapshot = ObjectiveSnapshot.load(pretrained_file(f"{WORD}:{name}"))
        word = f"{WORD}:{name}" + (f" (or {WORD})" if name == DEFAULT else "")
        trained = (
            f"{snapshot.steps:,} steps in {counted(len(snapshot.environments), 'environment')}"
        )
        print(f"{word}: version {snapshot.version:,}, {trained}")
        print(f"  card: {card_of(name)}")
        if config.cards:
            print(f"\n{card_of(name).read_text(encoding='utf-8')}")
    return 0
