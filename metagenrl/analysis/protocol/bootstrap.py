"""Intervals by a bootstrap over meta-training seeds and over agents, which are crossed.

Fifteen agents of three alphas are three samples of what meta-training gives; and if they are agents
0 to 4 under each of these, they are five samples of what an agent can be. So both are drawn anew:
each seed gets a random weight, the same in all environments, each agent's number gets one in every
environment, the same under all seeds, and an agent counts with the product (Owen and Eckles,
"Bootstrapping data arrays of arbitrary order", Annals of Applied Statistics 2012). The weights are
those of a Bayesian bootstrap (Rubin 1981), so that no sample is empty where cells are missing.
Percentiles of the weighted aggregate are the interval. What is noise of the single cell counts up
to three times: such intervals are rather too wide than too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from metagenrl.analysis.confidence import CONFIDENCE, CurveInterval, Interval
from metagenrl.analysis.protocol.crossed import Crossed

Array = NDArray[np.float64]
Aggregate = Callable[[Array, Array], Array]
"""Scores `[N]` or `[R, N]` and weights `[R, N]`, whose sum is 1, to `[R]` or `[R, T]` values."""
Scores = Mapping[str, Crossed]
"""By environment."""

REPETITIONS = 5_000
SEED = 0


def interval(
    scores: Scores, aggregate: Aggregate, repetitions: int = REPETITIONS, rule: bool = False
) -> Interval:
    """The aggregate of all scores with its 95 % interval; the same scores give the same bits.

    Of a learned objective with one seed the ends are NaN: one sample tells nothing of the spread.
    `rule`: it is a hand-made one, whose agents are the units. Raises `ValueError` for no scores and
    scores that are not finite.
    """

    def one(values: Array, weights: Array) -> Array:
        return aggregate(values, weights)[:, None]

    estimate = intervals(scores, one, repetitions, rule)
    return Interval(float(estimate.values[0]), float(estimate.low[0]), float(estimate.high[0]))


def intervals(
    scores: Scores, aggregate: Aggregate, repetitions: int = REPETITIONS, rule: bool = False
) -> CurveInterval:
    """As `interval` for an aggregate of T values, pointwise: a performance profile."""
    check(scores)
    values = np.concatenate([of.values for of in scores.values()])
    found = aggregate(values, equal_weights(scores))[0]  # [T]
    if max(len(units) for units in units_of(scores, rule)) == 1:
        unknown = np.full(found.shape, math.nan)
        return CurveInterval(found, unknown, unknown)
    random = np.random.default_rng(SEED)
    of_agents = {env: agent_weights([of], repetitions, random) for env, of in scores.items()}
    drawn = aggregate(values, sampled_weights(scores, of_agents, repetitions, random))  # [R, T]
    return CurveInterval(found, *percentiles(drawn))


def percentiles(drawn: Array) -> tuple[Array, Array]:
    """The ends of the 95 % interval of R samples: `[R, ...] -> [...]` twice."""
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail], axis=0)
    return low, high


def units_of(scores: Scores, rule: bool) -> list[NDArray[np.int64]]:
    """What is drawn first in each environment: a hand-made rule's agents, an objective's seeds."""
    return [np.unique(of.agents if rule else of.seeds) for of in scores.values()]


def equal_weights(scores: Scores) -> Array:
    """`[1, N]`: every environment counts the same, and in it every agent."""
    sizes = [of.values.size for of in scores.values()]
    return np.concatenate([np.full((1, size), 1 / size / len(sizes)) for size in sizes], axis=1)


def agent_weights(rules: Sequence[Crossed], repetitions: int, random: np.random.Generator) -> Array:
    """`[R, A]`: a weight for each number up to the largest that agents of these rules have.

    They make the variance of a mean what it is estimated to be without bias for the rule that has
    the fewest numbers, of those with several: a single one has the weight 1 whatever is drawn.
    """
    count = 1 + max(int(of.agents.max()) for of in rules)
    several = [units for of in rules if (units := np.unique(of.agents).size) > 1]
    return _weights(count, min(several, default=1), repetitions, random)


def sampled_weights(
    scores: Scores, of_agents: Mapping[str, Array], repetitions: int, random: np.random.Generator
) -> Array:
    """`[R, N]`: weights of R samples, the agents of one environment after those of the other."""
    seeds = 1 + max(int(of.seeds.max()) for of in scores.values())
    some = min(np.unique(of.seeds).size for of in scores.values())
    of_seeds = _weights(seeds, some, repetitions, random)
    parts = []
    for env, of in scores.items():
        weights = of_seeds[:, of.seeds] * of_agents[env][:, of.agents]
        parts.append(weights / weights.sum(axis=1, keepdims=True) / len(scores))
    return np.concatenate(parts, axis=1)


def _weights(count: int, units: int, repetitions: int, random: np.random.Generator) -> Array:
    """`[R, count]` positive weights with which the mean of so many units varies as it should.

    Of n units with Dirichlet(c) weights the mean has the variance of the values, over n, times
    (n - 1) / (n c + 1): what an unbiased estimate has with c = (n - 2) / n. Of two units it cannot
    be had; c is that of three then. One unit has nothing that varies.
    """
    if units == 1:
        return np.ones((repetitions, count))
    shape = max(1 / 3, (units - 2) / units)
    drawn = random.standard_gamma(shape, (repetitions, count))
    return np.maximum(drawn, np.finfo(float).tiny ** 0.25)


def check(scores: Scores) -> None:
    """Raises `ValueError` as `interval` does."""
    if not scores or not all(of.values.size for of in scores.values()):
        raise ValueError("scores: got none, allowed: at least one agent in each environment")
    for env, of in scores.items():
        if not np.isfinite(of.values).all():
            raise ValueError(f"scores: got NaN or Inf in {env}, allowed: finite numbers")
