"""How the meta-training runs of a report differ: population sizes, ablations, inner steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metagenrl.analysis.report.discover import TrainRun
from metagenrl.base.wording import counted
from metagenrl.runs.config.yaml import to_dict
from metagenrl.runs.resume import RESUME_MAY_CHANGE, leaves

_NO_VARIANT = frozenset({"seed", "envs", "agents", "snapshot_every"})
_BESIDE = ("held_out.", "tracking.")


def computes(field: str) -> bool:
    """Whether a field, by its dotted name, has a say in what a run computes."""
    return field not in RESUME_MAY_CHANGE and not field.startswith(_BESIDE)


class Variants:
    """The configuration fields in which some runs differ, seeds and bookkeeping aside."""

    def __init__(self, runs: Sequence[TrainRun]) -> None:
        self._values = {run.path: dict(leaves(to_dict(run.config))) for run in runs}
        tables = list(self._values.values())
        names = list(tables[0]) if tables else []
        self.fields = [
            name
            for name in names
            if computes(name)
            and name not in _NO_VARIANT
            and len({repr(table[name]) for table in tables}) > 1
        ]

    def value(self, run: TrainRun, field: str) -> Any:
        """A run's value of a field, by its dotted name."""
        return self._values[run.path][field]

    def words(self, run: TrainRun) -> list[str]:
        """`8 agents`, and each field that tells the run from others, as `use_value=False`."""
        differing = [
            f"{field.rpartition('.')[2]}={self.value(run, field)}" for field in self.fields
        ]
        return [counted(run.config.agents, "agent"), *differing]
