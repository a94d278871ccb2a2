"""Mean and interquartile mean of agents' scores with 95 % stratified bootstrap intervals.

As rliable has them (Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical
Precipice", NeurIPS 2021; a test holds that they are equal): agents are resampled within each
environment, and the interval lies between the percentiles of the aggregate. The unit is one agent,
a seed of a run. With two or three agents such intervals are narrower than the truth; how many
agents there are belongs beside every number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from metagenrl.analysis.number_text import with_interval
from metagenrl.analysis.protocol.aggregates import interquartile_mean

# Student's t at 97.5 % for 1 ... 10 degrees of freedom; the series below serves from there on.
_T = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)

_Z = 1.959964


REPETITIONS = 5_000
"""Bootstrap samples of an interval."""
CONFIDENCE = 0.95
_SEED = 0

Array = NDArray[np.float64]
Scores = ArrayLike | Mapping[str, ArrayLike]
"""Scores `[K]` of K agents of one environment, or by environment, K agents in each."""


@dataclass(frozen=True)
class Interval:
    """A number with its 95 % interval, whose ends are NaN where one agent alone was seen."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class CurveInterval:
    """An aggregate along S evaluations, each `[S]`, with its pointwise 95 % interval."""

    values: Array
    low: Array
    high: Array


def mean_with_interval(scores: Scores, repetitions: int = REPETITIONS) -> Interval:
    """The mean over environments of the mean over agents; the same scores give the same bits.

    Several environments' scores must be normalised to be comparable. Raises `ValueError` for no
    scores, scores that are not finite and environments with different numbers of agents.
    """
    return _single(_estimate(_table(scores), _mean, repetitions))


def iqm_with_interval(scores: Scores, repetitions: int = REPETITIONS) -> Interval:
    """The mean of the middle half of all agents' scores; as `mean_with_interval`.

    Of fewer than four scores nothing is cut off: then it is the mean.
    """
    return _single(_estimate(_table(scores), _interquartile_mean, repetitions))


def iqm_curve(returns: ArrayLike, repetitions: int = REPETITIONS) -> CurveInterval:
    """`iqm_with_interval` at S evaluations of K agents of one environment, `[K, S]` returns.

    Raises `ValueError` for no agents and for returns that are not finite.
    """
    table = _checked(np.asarray(returns, np.float64))[:, None, :]  # [K, 1, S]
    return _estimate(table, _interquartile_mean, repetitions)


def _table(scores: Scores) -> Array:
    """`[K, E, 1]` for K agents in each of E environments."""
    columns = list(scores.values()) if isinstance(scores, Mapping) else [scores]
    arrays = [np.asarray(column, np.float64).reshape(-1) for column in columns]
    counts = sorted({array.size for array in arrays})
    if len(counts) > 1:
        raise ValueError(f"scores: got {counts} agents, allowed: as many in each environment")
    return _checked(np.stack(arrays, 1) if arrays else np.empty((0, 0)))[..., None]


def _checked(table: Array) -> Array:
    if not table.size:
        raise ValueError("scores: got none, allowed: at least one")
    if not np.isfinite(table).all():
        raise ValueError("scores: got NaN or Inf, allowed: finite numbers")
    return table


def _mean(table: Array) -> Array:
    mean: Array = table.mean(axis=(0, 1))  # [K, E, S] -> [S]
    return mean


def _interquartile_mean(table: Array) -> Array:
    return interquartile_mean(table.reshape(-1, table.shape[-1]), axis=0)  # [K, E, S] -> [S]


def _estimate(table: Array, aggregate: Callable[[Array], Array], repetitions: int) -> CurveInterval:
    """`aggregate` of `[K, E, S]`, and its bootstrap interval where K > 1."""
    if len(table) == 1:
        unknown = np.full(table.shape[-1], math.nan)
        return CurveInterval(aggregate(table), unknown, unknown)
    # The legacy generator and the order of draws are rliable's, so that intervals are, too.
    draw, (_, *strata) = np.random.RandomState(_SEED), table.shape
    within = np.ogrid[tuple(slice(size) for size in (1, *strata))][1:]
    samples = [
        aggregate(table[(draw.choice(len(table), table.shape), *within)])
        for _ in range(repetitions)
    ]
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(samples, [tail, 100 - tail], axis=0)
    return CurveInterval(aggregate(table), low, high)


def _single(curve: CurveInterval) -> Interval:
    return Interval(float(curve.values[0]), float(curve.low[0]), float(curve.high[0]))


@dataclass(frozen=True)
class Estimate:
    """A mean over agents with its 95 % interval."""

    mean: float
    half_width: float  # NaN for a single agent, which tells nothing of the spread


def mean_interval(values: Sequence[float] | Array) -> Estimate:
    """Mean and half width t_{0.975, n-1} s / sqrt(n) of n finite values.

    Student's t, because the bootstrap's intervals are far too narrow at 2 to 5 seeds. Raises
    `ValueError` for no values.
    """
    n = len(values)
    if n == 0:
        raise ValueError("values: got none, allowed: at least one")
    mean = float(np.mean(values))
    if n == 1:
        return Estimate(mean, math.nan)
    return Estimate(mean, student_t(n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n))


def student_t(degrees: int) -> float:
    """The 97.5 % quantile of Student's t with `degrees` >= 1 of freedom, to 1e-4 of itself."""
    if degrees <= len(_T):
        return _T[degrees - 1]
    first = (_Z**3 + _Z) / 4
    second = (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / 96
    third = (3 * _Z**7 + 19 * _Z**5 + 17 * _Z**3 - 15 * _Z) / 384
    return _Z + first / degrees + second / degrees**2 + third / degrees**3


def iqm_band(returns: Array) -> CurveInterval:
    """Interquartile mean with its bootstrap interval, `[K, S]` with NaN for unknown.

    Steps at which the same agents were evaluated are resampled together.
    """
    known = np.isfinite(returns)  # [K, S]
    values, low, high = (np.full(returns.shape[1], np.nan) for _ in range(3))
    for pattern in np.unique(known, axis=1).T:
        columns = (known == pattern[:, None]).all(axis=0)
        estimate = iqm_curve(returns[pattern][:, columns], repetitions=2_000)
        values[columns], low[columns], high[columns] = estimate.values, estimate.low, estimate.high
    return CurveInterval(values, low, high)


def interval_text(interval: Interval) -> str:
    """`228 (175 … 282)`."""
    return with_interval(interval.value, interval.low, interval.high)
