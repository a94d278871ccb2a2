"""Intervals by a hierarchical bootstrap: meta-training seeds first, then agents within each.

Agents that one alpha trained are no independent samples of what meta-training gives: fifteen agents
of three alphas are three samples. So a sample is drawn as the data came about: S seeds with
replacement, the same in every environment, and for each of them its agents with replacement, in
each environment anew. Percentiles of the aggregate are the interval. Percentile intervals of few
units are too narrow; five seeds are the least to draw conclusions from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from metagenrl.analysis.confidence import CONFIDENCE, CurveInterval, Interval

Array = NDArray[np.float64]
Aggregate = Callable[[Array], Array]
"""[R, N] scores of R samples to [R] or [R, T] values."""
Scores = Mapping[str, Sequence[ArrayLike]]
"""By environment: for each meta-training seed, in the same order, the scores of its agents. A
hand-made rule has no meta-training: one sequence of one array, and agents are its units."""

REPETITIONS = 5_000
SEED = 0


def interval(
    scores: Scores, aggregate: Aggregate, repetitions: int = REPETITIONS, rule: bool = False
) -> Interval:
    """The aggregate of all scores with its 95 % interval; the same scores give the same bits.

    Of a learned objective with one seed the ends are NaN: one sample tells nothing of the spread.
    `rule`: it is a hand-made one, whose agents are the units. Raises `ValueError` for no scores,
    scores that are not finite, and seeds or agents that differ in number within a set.
    """
    estimate = intervals(scores, lambda sample: aggregate(sample)[:, None], repetitions, rule)
    return Interval(float(estimate.values[0]), float(estimate.low[0]), float(estimate.high[0]))


def intervals(
    scores: Scores, aggregate: Aggregate, repetitions: int = REPETITIONS, rule: bool = False
) -> CurveInterval:
    """As `interval` for an aggregate of T values, pointwise: a performance profile."""
    tables = tables_of(scores)
    values = aggregate(together([table.reshape(1, -1) for table in tables]))[0]  # [T]
    units = max(table.shape[1] if rule else table.shape[0] for table in tables)
    if units == 1:
        unknown = np.full(values.shape, math.nan)
        return CurveInterval(values, unknown, unknown)
    samples = resample(tables, repetitions, np.random.default_rng(SEED))
    drawn = aggregate(together(samples))  # [R, T]
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail], axis=0)
    return CurveInterval(values, low, high)


def resample(tables: Sequence[Array], repetitions: int, random: np.random.Generator) -> list[Array]:
    """R samples of tables `[S, K_e]`, one an environment: for each of them `[R, S * K_e]`."""
    seeds = tables[0].shape[0]
    chosen = random.integers(seeds, size=(repetitions, seeds, 1))  # the same in all environments
    drawn = []
    for table in tables:
        agents = random.integers(table.shape[1], size=(repetitions, seeds, table.shape[1]))
        drawn.append(table[chosen, agents].reshape(repetitions, -1))
    return drawn


def together(drawn: Sequence[Array]) -> Array:
    """`[R, N_e]` for each environment to `[R, N]`, in which every environment has the same weight.

    Where there are more agents in one environment, those of the others stand there several times.
    """
    size = math.lcm(*(scores.shape[1] for scores in drawn))
    return np.concatenate([np.repeat(x, size // x.shape[1], axis=1) for x in drawn], axis=1)


def tables_of(scores: Scores) -> list[Array]:
    """`[S, K_e]` for each environment. Raises as `interval`."""
    if not scores:
        raise ValueError("scores: got none, allowed: at least one environment")
    tables = []
    for env, seeds in scores.items():
        arrays = [np.asarray(agents, np.float64).reshape(-1) for agents in seeds]
        counts = sorted({array.size for array in arrays})
        if len(counts) != 1 or counts[0] == 0:
            raise ValueError(
                f"scores: got {counts} agents a seed in {env}, allowed: as many for each"
            )
        if not all(np.isfinite(array).all() for array in arrays):
            raise ValueError(f"scores: got NaN or Inf in {env}, allowed: finite numbers")
        tables.append(np.stack(arrays))
    if len({len(table) for table in tables}) > 1:
        found = {env: len(seeds) for env, seeds in scores.items()}
        raise ValueError(f"scores: got {found} seeds, allowed: as many in each environment")
    return tables
