"""A sweep as data: a command, options that stay, options that vary, seeds.

`grid` takes every combination; `random` draws points from lists and ranges. A sweep over `train`
is a study whose variants are the points: each objective is tested in the environments of `test`,
which are *selection* environments, since a sweep chooses. A sweep over `baseline` or `test`
compares the agents themselves.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from metagenrl.base.checks import UsageError, integer_at_least, require
from metagenrl.runs.config.yaml import build, load_mapping
from metagenrl.studies.job import Job
from metagenrl.studies.plan import file_name, words_of
from metagenrl.studies.recipe import Environments, Options, Recipe, Scale, Variant, check_recipe

Point = Mapping[str, Any]
"""Values of the options that vary."""


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
        value = math.exp(value) if self.log else value
        return round(value) if self.whole else float(f"{value:.4g}")


@dataclass(frozen=True)
class Random:
    """Points that are drawn."""

    options: Options
    """For each option a list of values, or `{low: , high: , log: , whole: }`."""
    points: int = 10
    """How many."""
    seed: int = 0
    """Of the draws: the points stay the same when the sweep goes on."""

    def __post_init__(self) -> None:
        integer_at_least(1, points=self.points)
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
    """With `--on tune`: which points are tried next; "": as `grid` and `random` say."""

    def __post_init__(self) -> None:
        integer_at_least(1, seeds=self.seeds)
        integer_at_least(0, first_seed=self.first_seed)
        require(bool(self.grid or self.random), "grid", dict(self.grid), "options, or random")
        tested, trains = self.test is not None, self.command == "train"
        require(tested == trains, "test", self.test, "environments for train, else nothing")
        for name, values in self.grid.items():
            fine = isinstance(values, list) and len(values) > 0
            require(fine, f"grid.{name}", values, "a list of values")
        for name in set(self.grid) & set(self.options):
            require(False, f"grid.{name}", name, "an option that is not in options as well")


def read_sweep(path: Path) -> Sweep:
    """The sweep in a YAML file. Raises `UsageError`."""
    values = load_mapping(path, "sweep")
    for name, cls in (("random", Random), ("test", SweepTests)):
        section = values.get(name)
        if section is not None:
            if not isinstance(section, Mapping):
                raise UsageError(f"{name}: got {section!r}, allowed: a mapping of fields")
            values[name] = build(cls, section, f"{name}.")
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


def ranges_of(random: Random) -> dict[str, Range | list[Any]]:
    """What each option is drawn from. Raises `UsageError`."""
    found: dict[str, Range | list[Any]] = {}
    for name, value in random.options.items():
        if isinstance(value, Mapping):
            found[name] = build(Range, value, f"random.options.{name}.")
        elif isinstance(value, list) and value:
            found[name] = value
        else:
            raise UsageError(
                f"random.options.{name}: got {value!r}, allowed: a list of values, or low and high"
            )
    return found


def points_of(sweep: Sweep) -> list[Point]:
    """All points, each once, in an order that stays the same."""
    lists = itertools.product(*sweep.grid.values())
    grid: list[Point] = [dict(zip(sweep.grid, values, strict=True)) for values in lists]
    if sweep.random is None:
        return _once(grid)
    random, ranges = np.random.default_rng(sweep.random.seed), ranges_of(sweep.random)
    drawn = [
        {name: _drawn(values, random) for name, values in ranges.items()}
        for _ in range(sweep.random.points)
    ]
    return _once([{**point, **extra} for point in grid for extra in drawn])


def _once(points: Sequence[Point]) -> list[Point]:
    return list({name_of(point): point for point in points}.values())


def _drawn(values: Range | list[Any], random: np.random.Generator) -> Any:
    if isinstance(values, Range):
        return values.draw(random)
    return values[int(random.integers(len(values)))]


def name_of(point: Point) -> str:
    """`learning-rate=0.001, batch-size=8`."""
    return ", ".join(f"{name}={value}" for name, value in point.items())


def recipe_of(sweep: Sweep, points: Sequence[Point], name: str) -> Recipe:
    """A sweep over `train` as a study. Raises `UsageError` as `check_recipe` does."""
    assert sweep.test is not None
    options = dict(sweep.options)
    envs = options.pop("envs", None)
    require(isinstance(envs, list) and bool(envs), "options.envs", envs, "training environments")
    tests = sweep.test
    scale = Scale(
        first_meta_seed=sweep.first_seed, meta_seeds=sweep.seeds, agents=tests.agents,
        rule_agents=tests.agents, steps=tests.steps, eval_every=tests.eval_every,
        eval_episodes=tests.eval_episodes,
    )  # fmt: skip
    recipe = Recipe(
        name=name, title=sweep.title, scale_name="sweep", scale=scale,
        environments=Environments(meta_training=tuple(envs), selection=tests.envs),
        variants={name_of(point): Variant(train=point) for point in points},
        baselines={}, shows=f"which of {len(points)} settings to choose", train=options,
        test=tests.options,
    )  # fmt: skip
    check_recipe(recipe)
    return recipe


def agent_jobs(sweep: Sweep, points: Sequence[Point], out: Path) -> list[Job]:
    """The jobs of a sweep over `baseline` or `test`: one a point and seed."""
    jobs = []
    for point in points:
        for seed in range(sweep.first_seed, sweep.first_seed + sweep.seeds):
            options = {"workers": 1, **sweep.options, **point}
            words = (sweep.command, *words_of(options), "--seeds", "1", "--first-seed", str(seed))
            folder = out / "runs" / file_name(name_of(point)) / f"seed-{seed}"
            jobs.append(Job(folder, words, chain=f"{name_of(point)}-{seed}"))
    return jobs
