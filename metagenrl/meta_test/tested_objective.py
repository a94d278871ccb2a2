"""Which objective a meta-test or baseline uses, and where it came from.

The run folder keeps a copy of a learned objective (`objective.safetensors`): what is tested stays
the same where the meta-training run goes on, or its "best" becomes another, before a resume.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metagenrl.agents.environment.spec import EnvironmentSpec
from metagenrl.base.checks import UsageError
from metagenrl.base.files.atomic import write_atomic
from metagenrl.base.files.json_file import read_object
from metagenrl.baselines.meta_learned import MetaLearned, baseline_of_test, padding_of
from metagenrl.baselines.policy_files import policy_folders
from metagenrl.objective_server.snapshots.find import find_snapshot
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.runs.agent_job import ObjectiveChoice, Rule
from metagenrl.runs.config.baselines import BASELINES
from metagenrl.runs.config.epg import is_epg
from metagenrl.runs.config.lone_agents import RANDOM_OBJECTIVE, BaselineConfig, MetaTestConfig
from metagenrl.runs.kinds import no_objective
from metagenrl.runs.names import COPY_FILE, FACTS_FILE, POLICIES_FOLDER


@dataclass(frozen=True, eq=False)
class TestedObjective:
    """An objective by the name it has in the rows, with its provenance."""

    label: str
    choice: ObjectiveChoice
    facts: dict[str, Any]
    """What `objective.json` says: label, rule, `seen` (whether it was meta-trained in the
    environment) and, of a learned one, `file` and all that the snapshot tells about itself."""
    snapshot: ObjectiveSnapshot | None = None
    policies: Path | None = None
    """Folder of a meta-learner's policies, which the run folder keeps a copy of."""

    @property
    def seen(self) -> bool:
        """Whether the environment was among those of the meta-training."""
        return bool(self.facts["seen"])

    @property
    def environments(self) -> tuple[str, ...] | None:
        """The environments of the meta-training; None where there was none."""
        found = self.facts.get("environments")
        return None if found is None else tuple(found)

    def save(self, run_dir: Path) -> None:
        """Write the facts, and before them the copy; what is there already stays."""
        if (run_dir / FACTS_FILE).exists():
            return
        if self.snapshot is not None:
            write_atomic(run_dir / COPY_FILE, [self.snapshot.to_bytes()], durable=True)
        if self.policies is not None:
            for source in self.policies.glob("seed-*.policy"):
                copy = run_dir / POLICIES_FOLDER / source.name
                shutil.copytree(source, copy, dirs_exist_ok=True)
        text = json.dumps(self.facts, indent=2) + "\n"
        write_atomic(run_dir / FACTS_FILE, [text.encode()], durable=True)


def objective_of_test(config: MetaTestConfig) -> TestedObjective:
    """The learned objective or the random control.

    Raises `UsageError` where the objective is not there, damaged, of a later format or of
    another architecture than `config.architecture`.
    """
    if config.objective == RANDOM_OBJECTIVE:
        label = "random objective"
        architecture = dataclasses.asdict(config.architecture)
        facts = {"label": label, "rule": "random", "seen": False, "config": architecture}
        return TestedObjective(label, ObjectiveChoice("random", "", config.architecture), facts)
    learned = baseline_of_test(config)
    if learned is not None:
        return _policies(config, learned)
    try:
        return _learned(config)
    except UsageError:
        raise
    except (ValueError, OSError) as error:
        more = f", {RANDOM_OBJECTIVE}"
        raise no_objective(error, Path(config.objective), config.objective, more) from error


def objective_of_baseline(config: BaselineConfig) -> TestedObjective:
    """An algorithm of `metagenrl baseline`."""
    facts: dict[str, Any] = {"label": config.algo, "rule": config.algo, "seen": False}
    if BASELINES[config.algo].meta_learner:
        padding = dataclasses.asdict(padding_of(config))
        environments = list(config.environments)
        facts |= {"phase": "train", "environments": environments, "padding": padding, "seen": True}
    return TestedObjective(config.algo, ObjectiveChoice(config.algo), facts)


def _seen(env: str, training: Sequence[str]) -> dict[str, Any]:
    """Whether meta-training had the environment, by what Gymnasium takes the names for.

    `seen_with` are its forms with other arguments or wrappers, which are another environment.
    """
    from metagenrl.agents.environment.make import includes, resolved

    related = [
        other for other in training
        if EnvironmentSpec.of(resolved(other)).id == EnvironmentSpec.of(resolved(env)).id
    ]  # fmt: skip
    seen = any(includes(other, env) for other in related)
    return {"seen": seen} | ({} if seen or not related else {"seen_with": related})


def _kind(version: int) -> str:
    """Version 0 was never updated: calling it learned would be a claim."""
    return "learned" if version else "untrained"


def _policies(config: MetaTestConfig, learned: MetaLearned) -> TestedObjective:
    """The policies of a meta-learner's run, or on resume those that were copied from there."""
    copies = config.run_dir / POLICIES_FOLDER
    resumed = config.resume and (config.run_dir / FACTS_FILE).exists()
    source = copies if resumed else learned.seeds
    found = len(policy_folders(source))
    if not found:
        raise UsageError(
            f"objective: got {config.objective!r} (no finished {learned.algo} policy in it), "
            "allowed: a run with at least one finished seed"
        )
    facts = {
        "label": learned.algo,
        "rule": learned.algo,
        "phase": "test",
        "run": str(learned.run_dir),
        "policies": found,
        "learning": "within a trial",
        "environments": list(learned.environments),
        "padding": dataclasses.asdict(learned.padding),
        **_seen(config.env, learned.environments),
    }
    rule: Any = learned.algo
    choice = ObjectiveChoice(rule, str(copies.absolute()))
    return TestedObjective(learned.algo, choice, facts, policies=None if resumed else source)


def _learned(config: MetaTestConfig) -> TestedObjective:
    from metagenrl.baselines.epg.meta_test import check_usable  # torch: only where it is needed
    from metagenrl.learner.objective.net import ObjectiveNet

    facts_file, copy = config.run_dir / FACTS_FILE, config.run_dir / COPY_FILE
    resumed = config.resume and facts_file.exists()
    source = copy if resumed else find_snapshot(Path(config.objective), config.wanted)
    snapshot = ObjectiveSnapshot.load(source)
    rule: Rule = "epg" if is_epg(snapshot) else "learned"
    if rule == "epg":
        check_usable(snapshot, config.env)
        label = f"EPG loss g{snapshot.version}"
    else:
        snapshot.expect(config.architecture, ObjectiveNet(config.architecture).layout.size)
        label = f"{_kind(snapshot.version)} objective v{snapshot.version}"
    facts = {
        "label": label,
        "rule": rule,
        "file": read_object(facts_file).get("file", "") if resumed else str(source),
        **snapshot.describe(),
        **_seen(config.env, snapshot.environments),
    }
    choice = ObjectiveChoice(rule, str(copy), config.architecture)
    return TestedObjective(label, choice, facts, snapshot)
