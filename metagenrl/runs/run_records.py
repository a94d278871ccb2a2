"""Rows of `metrics.jsonl` about the run as a whole: snapshots, machine, held-out evaluation.

`records` has the other rows, and reads and writes them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

GIVEN_UP = "test given up"
"""What the event of a held-out trial is that failed or hung every time."""


@dataclass(frozen=True)
class SnapshotRow:
    """A version of alpha that was kept as a file."""

    kind: ClassVar[str] = "snapshot"

    time: float  # seconds since the run started
    round: int
    version: int
    file: str  # relative to the run's folder
    agent_steps: int  # of the whole population


@dataclass(frozen=True)
class SystemRow:
    """The run's load on the machine, and how far agents are behind."""

    kind: ClassVar[str] = "system"

    time: float  # seconds since the run started
    round: int
    version: int
    agent_steps: int  # of the whole population
    agent_steps_per_s: float | None
    rss: int  # bytes, of the driver and of every process below it on its machine
    rss_driver: int  # bytes
    processes: int
    lag_mean: float  # versions that the agents' last gradients were behind alpha
    lag_max: int
    held_out_waiting: int  # held-out trials that are not finished


@dataclass(frozen=True)
class HeldOutRow:
    """One new agent, trained to the end by one version of alpha in a held-out environment."""

    kind: ClassVar[str] = "held_out"

    time: float  # seconds since the run started
    round: int  # the open one when the result came in
    version: int  # of alpha, that trained it
    agent_steps: int  # of the whole population, when alpha had that version
    env: str
    seed: int
    steps: int  # environment steps that the new agent trained for
    return_mean: float | None
    returns: tuple[float, ...]  # undiscounted, one per episode


@dataclass(frozen=True)
class ScoreRow:
    """A version of alpha of which every held-out trial is in."""

    kind: ClassVar[str] = "score"

    time: float  # seconds since the run started
    round: int
    version: int
    agent_steps: int  # of the whole population, when alpha had that version
    score: float | None  # among the versions up to this one; None: a trial failed or diverged
    return_by_env: dict[str, float]  # mean over seeds
    best_version: int | None  # up to this one
    best_score: float | None
    metric: str  # what the score is, in words
