"""Normalised scores of rules: 0 is the random objective, 1 is TD3 at equal steps and sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from metagenrl.analysis.compare.scores import Normalisation
from metagenrl.analysis.confidence import Interval
from metagenrl.analysis.protocol.aggregates import (
    weighted_interquartile_mean,
    weighted_mean,
    weighted_optimality_gap,
)
from metagenrl.analysis.protocol.bootstrap import Scores, interval
from metagenrl.analysis.protocol.crossed import Crossed

ZERO, ONE = "random objective", "td3"


def scale(numbers: Mapping[str, Crossed]) -> Normalisation | None:
    """What is 0 and what is 1 in one environment, from each rule's numbers there.

    None where the random objective or TD3 was not run, or TD3 is not better: such an environment
    has no normalised scores, and the table says so.
    """
    if ZERO not in numbers or ONE not in numbers:
        return None
    zero, one = (float(numbers[rule].values.mean()) for rule in (ZERO, ONE))
    return Normalisation(zero, ZERO, one, ONE) if one > zero else None


def normalised(numbers: Scores, scales: Mapping[str, Normalisation]) -> Scores:
    """One rule's scores by environment, where there is a scale."""
    return {
        env: of.with_values(scales[env](of.values)) for env, of in numbers.items() if env in scales
    }


@dataclass(frozen=True)
class Aggregate:
    """A rule over several environments, in normalised scores."""

    iqm: Interval
    mean: Interval
    optimality_gap: Interval
    worst_over_best: float | None
    """Lowest over highest mean of a meta-training seed, in the environment where it is lowest; None
    with a single seed or where the best seed is not above 0."""
    seeds: int
    environments: tuple[str, ...]


def aggregate(scores: Scores, rule: bool) -> Aggregate | None:
    """The aggregates with their intervals; None without scores.

    `rule`: a hand-made one, without meta-training seeds.
    """
    if not scores:
        return None
    return Aggregate(
        interval(scores, weighted_interquartile_mean, rule=rule),
        interval(scores, weighted_mean, rule=rule),
        interval(scores, weighted_optimality_gap, rule=rule),
        None if rule else worst_over_best(scores),
        max(np.unique(of.seeds).size for of in scores.values()),
        tuple(scores),
    )


def worst_over_best(scores: Scores) -> float | None:
    """The spread over meta-training seeds where it is widest; see `Aggregate`."""
    ratios = []
    for of in scores.values():
        means = [float(agents.mean()) for agents in of.by_seed().values()]
        if len(means) < 2 or max(means) <= 0:
            return None
        ratios.append(min(means) / max(means))
    return min(ratios)


def apart(first: Interval, second: Interval) -> bool:
    """Whether the first lies above the second with both 95 % intervals apart."""
    return first.low > second.high
