"""Which objective a meta-test or baseline uses, and where it came from.

The run folder keeps a copy of a learned objective (`objective.safetensors`): what is tested stays
the same where the meta-training run goes on, or its "best" becomes another, before a resume.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metagenrl.cluster.config import RANDOM_OBJECTIVE, BaselineConfig, MetaTestConfig, UsageError
from metagenrl.cluster.epg_options import is_epg
from metagenrl.cluster.trainee_job import ObjectiveChoice, Rule
from metagenrl.objective_server.atomic import write_atomic
from metagenrl.objective_server.find import find_snapshot
from metagenrl.objective_server.snapshot import ObjectiveSnapshot

FACTS_FILE = "objective.json"
COPY_FILE = "objective.safetensors"


@dataclass(frozen=True, eq=False)
class TestedObjective:
    """An objective by the name it has in the rows, with its provenance."""

    label: str
    choice: ObjectiveChoice
    facts: dict[str, Any]
    """What `objective.json` says: label, rule, `seen` (whether it was meta-trained in the
    environment) and, of a learned one, `file` and all that the snapshot tells about itself."""
    snapshot: ObjectiveSnapshot | None = None

    @property
    def seen(self) -> bool:
        """Whether the environment was among those of the meta-training."""
        return bool(self.facts["seen"])

    def save(self, run_dir: Path) -> None:
        """Write the facts, and before them the copy; what is there already stays."""
        if (run_dir / FACTS_FILE).exists():
            return
        if self.snapshot is not None:
            write_atomic(run_dir / COPY_FILE, [self.snapshot.to_bytes()], durable=True)
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
    try:
        return _learned(config)
    except UsageError:
        raise
    except (ValueError, OSError) as error:
        raise UsageError(
            f"objective: got {config.objective!r} ({error}), allowed: a run folder, a snapshot "
            f"file, {RANDOM_OBJECTIVE}"
        ) from error


def objective_of_baseline(config: BaselineConfig) -> TestedObjective:
    """A hand-made objective."""
    facts = {"label": config.algo, "rule": config.algo, "seen": False}
    return TestedObjective(config.algo, ObjectiveChoice(config.algo), facts)


def _learned(config: MetaTestConfig) -> TestedObjective:
    from metagenrl.cluster.epg_test import check_usable  # torch: only where it is needed
    from metagenrl.learner.objective_net import ObjectiveNet

    facts_file, copy = config.run_dir / FACTS_FILE, config.run_dir / COPY_FILE
    resumed = config.resume and facts_file.exists()
    source = copy if resumed else find_snapshot(Path(config.objective), config.requested_version)
    snapshot = ObjectiveSnapshot.load(source)
    rule: Rule = "epg" if is_epg(snapshot) else "learned"
    if rule == "epg":
        check_usable(snapshot, config.env)
        label = f"EPG loss g{snapshot.version}"
    else:
        snapshot.expect(config.architecture, ObjectiveNet(config.architecture).layout.size)
        label = f"learned objective v{snapshot.version}"
    facts = {
        "label": label,
        "rule": rule,
        "file": json.loads(facts_file.read_bytes())["file"] if resumed else str(source),
        "seen": config.env in snapshot.environments,
        **snapshot.describe(),
    }
    choice = ObjectiveChoice(rule, str(copy), config.architecture)
    return TestedObjective(label, choice, facts, snapshot)
