"""What `metagenrl experiment` and `metagenrl sweep` need to know of where and how to run."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from metagenrl.base.checks import UsageError, integer_at_least
from metagenrl.base.process import available_cores


@dataclass(frozen=True, kw_only=True)
class QueueOptions:
    """The queue that carries out a study's commands."""

    out: Path
    """Folder for all run folders of the study; the command goes on with what is there."""
    jobs: int = field(default_factory=lambda: available_cores())
    """Commands at the same time on this machine, one process a core; Ray: one for each CPU."""
    share: str = ""
    """This worker's part, as 3/16: number 3 (from 0) of 16 workers, each of which is given its own
    meta-trainings with their tests; for arrays of a scheduler."""
    show: bool = False
    """Print the commands, and run nothing."""
    report_only: bool = False
    """Make the table and the picture from what is finished, and run nothing."""

    def __post_init__(self) -> None:
        integer_at_least(1, jobs=self.jobs)
        if self.share:
            match = re.fullmatch(r"([0-9]+)/([0-9]+)", self.share)
            if match is None or int(match[1]) >= int(match[2]):
                raise UsageError(f"share: got {self.share!r}, allowed: K/N with 0 <= K < N")

    @property
    def part(self) -> tuple[int, int]:
        """Number of this worker and number of workers."""
        mine, _, workers = (self.share or "0/1").partition("/")
        return int(mine), int(workers)


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig(QueueOptions):
    """Run a study's recipe: meta-trainings, tests and baselines, its table and picture."""

    recipe: Path
    """YAML file, as under experiments/recipes/."""
    on: Literal["local", "ray"] = "local"
    """Where the commands run: on this machine, or on the Ray cluster of RAY_ADDRESS."""
    scale: str = "small"
    """One of the recipe's scales: `small` takes two cores hours, `paper` is the paper's."""
    curves: Path | None = None
    """Make the table and the picture from this file, as a report has written it, and run nothing:
    results/*_curves.csv."""


@dataclass(frozen=True, kw_only=True)
class SweepConfig(QueueOptions):
    """Run a command with varying options and seeds, and compare what comes out."""

    file: Path
    """YAML file of the sweep, see docs/experiments.md."""
    on: Literal["local", "ray", "tune"] = "local"
    """Where the commands run: on this machine, or on the Ray cluster of RAY_ADDRESS; `tune` runs
    them there too, and lets Ray Tune choose the points where the file says `search: optuna`."""
