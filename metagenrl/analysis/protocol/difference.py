"""How far one rule is above another, in normalised scores, with an interval for the difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from metagenrl.analysis.confidence import Interval
from metagenrl.analysis.protocol.aggregates import weighted_interquartile_mean
from metagenrl.analysis.protocol.bootstrap import (
    REPETITIONS,
    SEED,
    Scores,
    agent_weights,
    check,
    equal_weights,
    percentiles,
    sampled_weights,
)
from metagenrl.analysis.protocol.scores import ONE, ZERO

Array = NDArray[np.float64]
Numbers = Mapping[str, Scores]
"""By rule, then by environment."""


def difference(
    numbers: Numbers,
    first: str,
    second: str,
    environments: Sequence[str],
    repetitions: int = REPETITIONS,
) -> Interval | None:
    """Interquartile mean of `first` less that of `second`, with a 95 % interval.

    A sample weighs the agents anew that are the scores' 0 and 1, too, and an agent's number has one
    weight under all rules: rules are compared agent by agent. Samples in which 1 is not above 0 in
    every environment have no scores and are left out. None where the agents themselves have none,
    or half of the samples or more. Rules of a single unit, which says nothing of the spread, are
    not for this.
    """
    names = dict.fromkeys((ZERO, ONE, first, second))
    rules = {name: {env: numbers[name][env] for env in environments} for name in names}
    for scores in rules.values():
        check(scores)
    value, sound = _differences(
        rules, {name: equal_weights(scores) for name, scores in rules.items()}, first, second
    )
    random = np.random.default_rng(SEED)
    of_agents = {
        env: agent_weights([scores[env] for scores in rules.values()], repetitions, random)
        for env in environments
    }
    weights = {
        name: sampled_weights(scores, of_agents, repetitions, random)
        for name, scores in rules.items()
    }
    values, usable = _differences(rules, weights, first, second)
    if not sound.all() or usable.mean() <= 0.5:
        return None
    low, high = percentiles(values[usable])
    return Interval(float(value[0]), float(low), float(high))


def _differences(
    rules: Numbers, weights: Mapping[str, Array], first: str, second: str
) -> tuple[Array, NDArray[np.bool_]]:
    """`[R]` differences, and whether a sample has scores."""
    zero, one = (_means(rules[name], weights[name]) for name in (ZERO, ONE))
    sound = np.all([one[env] > zero[env] for env in zero], axis=0)
    means = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for name in (first, second):
            scores = [
                (of.values - zero[env][:, None]) / (one[env] - zero[env])[:, None]
                for env, of in rules[name].items()
            ]
            together = np.concatenate(scores, axis=1)
            means.append(weighted_interquartile_mean(together, weights[name]))
    return means[0] - means[1], np.asarray(sound)


def _means(scores: Scores, weights: Array) -> dict[str, Array]:
    """`[R]` weighted means in each environment."""
    ends = np.cumsum([of.values.size for of in scores.values()])[:-1]
    parts = np.split(weights, ends, axis=1)
    return {
        env: (part * of.values).sum(axis=1) / part.sum(axis=1)
        for (env, of), part in zip(scores.items(), parts, strict=True)
    }
