"""A sweep as data: a command, options that stay, options that vary, seeds.

`grid` takes every combination; `random` draws points from lists and ranges; with `search` each
point is chosen from these by the scores of those before. A sweep over `train`
is a study whose variants are the points: each objective is tested in the environments of `test`,
which are *selection* environments, since a sweep chooses. A sweep over `baseline` or `test`
compares the agents themselves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from metagenrl.base.checks import integer_at_least, mapping, require, seed_range
from metagenrl.runs.config.yaml import build, load_mapping
from metagenrl.studies.recipe import Options


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high` that are drawn at random."""

    low: float
    high: float
    log: bool = False
    """Evenly in the logarithm."""
    whole: bool = False
    """Whole numbers, both ends among them."""

    def __post_init__(self) -> None:
        require(self.low < self.high, "low", self.low, f"less than high ({self.high})")
        require(not self.log or self.low > 0, "low", self.low, "more than 0 where log is true")

    def draw(self, random: np.random.Generator) -> float | int:
        """One of them."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        value = float(random.uniform(low, high))
        return self.rounded(math.exp(value) if self.log else value)

    def rounded(self, value: float) -> float | int:
        """`value` as a point has it, with four digits: folders are named after it."""
        return round(value) if self.whole else float(f"{value:.4g}")


MOST_POINTS = 100_000
"""A study of more would have no end."""


@dataclass(frozen=True)
class Random:
    """Points that are drawn."""

    options: Options
    """For each option a list of values, or `{low: , high: , log: , whole: }`."""
    points: int = 10
    """How many, those of a search that failed among them."""
    seed: int = 0
    """Of the draws: the points stay the same when the sweep goes on. Also of the search."""

    def __post_init__(self) -> None:
        require(bool(self.options), "random.options", dict(self.options), "options to draw")
        integer_at_least(1, points=self.points)
        require(self.points <= MOST_POINTS, "random.points", self.points, f"at most {MOST_POINTS}")
        integer_at_least(0, seed=self.seed)


@dataclass(frozen=True)
class SweepTests:
    """How the objectives of a sweep over `train` are tested."""

    envs: tuple[str, ...]
    """Environments, none of them of the meta-training."""
    agents: int = 3
    """New agents for each objective."""
    steps: int = 10_000
    """Steps of each."""
    eval_every: int = 1_000
    """Steps between evaluations."""
    eval_episodes: int = 5
    """Episodes of an evaluation."""
    options: Options = field(default_factory=dict)
    """Further options of `metagenrl test` and of TD3, which is compared with."""


@dataclass(frozen=True)
class Sweep:
    """See the module."""

    command: Literal["train", "baseline", "test"]
    title: str = "A sweep"
    options: Options = field(default_factory=dict)
    """Options that stay."""
    grid: Options = field(default_factory=dict)
    """Lists of values: every combination is a point."""
    random: Random | None = None
    """Drawn points, each combined with every point of the grid."""
    seeds: int = 3
    """Runs of each point."""
    first_seed: int = 0
    """Seed of the first of them."""
    test: SweepTests | None = None
    """Needed by, and only for, a sweep over `train`."""
    search: Literal["", "optuna"] = ""
    """With `--on tune`: who chooses the points, from the lists and ranges of `random` and by the
    scores of those before; "": all are known before, as `grid` and `random` say."""

    def __post_init__(self) -> None:
        integer_at_least(1, seeds=self.seeds)
        seed_range("first_seed", self.first_seed, self.seeds)
        require(bool(self.grid or self.random), "grid", dict(self.grid), "options, or random")
        tested, trains = self.test is not None, self.command == "train"
        allowed = "environments for train, else nothing"
        given = f"a section beside the command {self.command}" if tested else None
        require(tested == trains, "test", given, allowed)
        if self.search:
            require(self.random is not None, "search", self.search, "nothing without random")
            allowed = f"nothing beside search: {self.search}, which searches in random.options"
            require(not self.grid, "grid", dict(self.grid), allowed)
        for name, values in self.grid.items():
            fine = isinstance(values, list) and len(values) > 0
            require(fine, f"grid.{name}", values, "a list of values")
            once = len({str(value) for value in values}) == len(values)
            require(once, f"grid.{name}", values, "each value once")
        drawn = {} if self.random is None else self.random.options
        for name in self.grid:
            fine = name not in self.options
            require(fine, f"grid.{name}", name, "an option that is not in options as well")
        for name in drawn:
            fine = name not in self.options and name not in self.grid
            allowed = "an option that is not in options or grid as well"
            require(fine, f"random.options.{name}", name, allowed)


def read_sweep(path: Path) -> Sweep:
    """The sweep in a YAML file. Raises `UsageError`."""
    values = load_mapping(path, "sweep")
    for name, cls in (("random", Random), ("test", SweepTests)):
        section = values.get(name)
        if section is not None:
            values[name] = build(cls, mapping(name, section), f"{name}.")
    sections = {name: values.pop(name, None) for name in ("random", "test")}
    plain = build(_Plain, values)
    return Sweep(**vars(plain), **sections)


@dataclass(frozen=True)
class _Plain:
    """The fields of a sweep that are no sections."""

    command: Literal["train", "baseline", "test"]
    title: str = "A sweep"
    options: Options = field(default_factory=dict)
    grid: Options = field(default_factory=dict)
    seeds: int = 3
    first_seed: int = 0
    search: Literal["", "optuna"] = ""
