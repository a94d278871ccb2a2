"""The points of a sweep, and what is run for them: a study, or one job a point and seed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metagenrl.base.checks import UsageError, require
from metagenrl.runs.config.yaml import build
from metagenrl.studies.job import Job
from metagenrl.studies.plan import file_name, words_of
from metagenrl.studies.read_recipe import check_recipe
from metagenrl.studies.recipe import Environments, Recipe, Scale, Variant
from metagenrl.studies.sweep import Random, Range, Sweep

Point = Mapping[str, Any]
"""Values of the options that vary."""


def ranges_of(random: Random) -> dict[str, Range | list[Any]]:
    """The range or list that each option is drawn from. Raises `UsageError`."""
    found: dict[str, Range | list[Any]] = {}
    for name, value in random.options.items():
        if isinstance(value, Mapping):
            found[name] = _range(f"random.options.{name}.", value)
        elif isinstance(value, list) and value:
            found[name] = value
        else:
            raise UsageError(
                f"random.options.{name}: got {value!r}, allowed: a list of values, or low and high"
            )
    return found


def _range(prefix: str, value: Mapping[str, Any]) -> Range:
    try:
        return build(Range, value, prefix)
    except ValueError as error:  # of the two ends together, which do not know whose they are
        line = str(error)
        raise UsageError(line if line.startswith(prefix) else prefix + line) from error


def points_of(sweep: Sweep) -> list[Point]:
    """All points, each once, in an order that stays the same."""
    lists = itertools.product(*sweep.grid.values())
    grid: list[Point] = [dict(zip(sweep.grid, values, strict=True)) for values in lists]
    if sweep.random is None:
        return each_once(grid)
    random, ranges = np.random.default_rng(sweep.random.seed), ranges_of(sweep.random)
    drawn = [
        {name: _drawn(values, random) for name, values in ranges.items()}
        for _ in range(sweep.random.points)
    ]
    return each_once([{**point, **extra} for point in grid for extra in drawn])


def each_once(points: Sequence[Point]) -> list[Point]:
    """The points without those of the same name as one before."""
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
            name = name_of(point)
            folder = out / "runs" / file_name(name) / f"seed-{seed}"
            jobs.append(Job(folder, words, label=name, chain=f"{name}-{seed}"))
    return jobs
