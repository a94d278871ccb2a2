"""Normalised scores of rules: 0 is the random objective, 1 is TD3 at equal steps and sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metagenrl.analysis.compare.scores import Normalisation
from metagenrl.analysis.confidence import Interval
from metagenrl.analysis.protocol.aggregates import interquartile_mean, mean, optimality_gap
from metagenrl.analysis.protocol.bootstrap import Scores, interval

Array = NDArray[np.float64]
Seeds = Sequence[Array]
"""For each meta-training seed the numbers of its agents, `[K]`; one entry for a hand-made rule."""

ZERO, ONE = "random objective", "td3"


def scale(numbers: Mapping[str, Seeds]) -> Normalisation | None:
    """What is 0 and what is 1 in one environment, from each rule's numbers there.

    None where the random objective or TD3 was not run, or TD3 is not better: such an environment
    has no normalised scores, and the table says so.
    """
    if ZERO not in numbers or ONE not in numbers:
        return None
    zero = float(np.concatenate(numbers[ZERO]).mean())
    one = float(np.concatenate(numbers[ONE]).mean())
    return Normalisation(zero, ZERO, one, ONE) if one > zero else None


def even(numbers: Mapping[str, Seeds]) -> dict[str, list[Array]]:
    """By environment, as many agents of each seed: one too many is left out, the last ones first.

    (Another seed's agent has not finished.)
    """
    least = {env: min(len(agents) for agents in seeds) for env, seeds in numbers.items()}
    return {env: [agents[: least[env]] for agents in seeds] for env, seeds in numbers.items()}


def normalised(numbers: Mapping[str, Seeds], scales: Mapping[str, Normalisation]) -> Scores:
    """One rule's scores by environment, where there is a scale."""
    return {
        env: [scales[env](agents) for agents in seeds]
        for env, seeds in numbers.items()
        if env in scales
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
    """The aggregates with hierarchical bootstrap intervals; None without scores.

    `rule`: a hand-made one, without meta-training seeds.
    """
    if not scores:
        return None
    seeds = max(len(agents) for agents in scores.values())
    return Aggregate(
        interval(scores, interquartile_mean, rule=rule),
        interval(scores, mean, rule=rule),
        interval(scores, optimality_gap, rule=rule),
        None if rule else worst_over_best(scores),
        seeds,
        tuple(scores),
    )


def worst_over_best(scores: Scores) -> float | None:
    """The spread over meta-training seeds where it is widest; see `Aggregate`."""
    ratios = []
    for seeds in scores.values():
        means = [float(np.mean(np.asarray(agents))) for agents in seeds]
        if len(means) < 2 or max(means) <= 0:
            return None
        ratios.append(min(means) / max(means))
    return min(ratios)


def apart(first: Interval, second: Interval) -> bool:
    """Whether the first lies above the second with both 95 % intervals apart."""
    return first.low > second.high
