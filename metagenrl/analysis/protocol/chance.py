"""What comes of the agents and not of the meta-training seeds in how far runs lie apart."""

from __future__ import annotations

import numpy as np

from metagenrl.analysis.protocol.bootstrap import REPETITIONS, SEED, Scores
from metagenrl.analysis.protocol.crossed import Array, Crossed, Labels

LEAST_AGENTS = 3
"""Agents of a rule below which their noise is not known."""


def spread_by_chance(rule: Scores, scores: Scores, draws: int = REPETITIONS) -> float | None:
    """The median of the worst seed over the best one if every seed trained agents as `rule` does.

    The agents of a hand-made rule are drawn with replacement into as many seeds of as many agents
    as `scores` has in each environment, and the lowest ratio over the environments is taken, as
    `worst_over_best` does. An observed ratio that is no lower says nothing of seeds. None where
    the rule has fewer than three agents, or not all of the environments, and for a single seed.
    """
    if not set(scores) <= set(rule):
        return None
    seeds = min(np.unique(of.seeds).size for of in scores.values())
    if min(rule[env].values.size for env in scores) < LEAST_AGENTS or seeds < 2:
        return None
    random = np.random.default_rng(SEED)
    ratios = []
    for env, of in scores.items():
        drawn = random.choice(rule[env].values, size=(draws, of.values.size))
        means = _means(drawn, of.seeds)
        best = means.max(axis=1)
        ratios.append(means.min(axis=1)[best > 0] / best[best > 0])
    least = min(len(ratio) for ratio in ratios)
    if not least:
        return None
    return float(np.median(np.min([ratio[:least] for ratio in ratios], axis=0)))


def share_as_far_apart(of: Crossed, draws: int = REPETITIONS) -> float | None:
    """Share of random assignments of agents to seeds with means at least as far apart.

    A permutation test of whether meta-training seeds differ in one environment; agents change
    places with those of the same number, which start alike. "Far" is the variance of the seeds'
    means. None for a single seed, and where no number has agents of two seeds.
    """
    if np.unique(of.seeds).size < 2 or np.unique(of.agents).size == of.agents.size:
        return None
    order = np.argsort(of.agents, kind="stable")
    values, seeds, numbers = of.values[order], of.seeds[order], of.agents[order]
    keys = numbers + np.random.default_rng(SEED).random((draws, values.size))
    assigned = values[np.argsort(keys, axis=1)]
    found = _means(values[None], seeds).var()
    rounding = 1e-12 * np.square(values).mean()
    return float(np.mean(_means(assigned, seeds).var(axis=1) >= found - rounding))


def share_of_agents(of: Crossed) -> float | None:
    """Share of the variance within a seed that comes with the agent's number, which all seeds have.

    From 0, agents with the same number are as unlike as others, to 1. The components of variance of
    a crossed table with one agent in each cell, from the numbers that every seed has; None where
    these are not two at least, and where nothing varies.
    """
    seeds, numbers = np.unique(of.seeds), np.unique(of.agents)
    whole = [n for n in numbers if np.count_nonzero(of.agents == n) == seeds.size]
    if seeds.size < 2 or len(whole) < 2:
        return None
    table = np.stack(
        [of.values[of.agents == n][np.argsort(of.seeds[of.agents == n])] for n in whole]
    )
    by_number, by_seed = table.mean(axis=1, keepdims=True), table.mean(axis=0)
    free = (len(whole) - 1) * (seeds.size - 1)
    cell = float(np.square(table - by_number - by_seed + table.mean()).sum()) / free
    number = max(0.0, float(by_number.var(ddof=1)) - cell / seeds.size)
    return None if number + cell == 0 else number / (number + cell)


def _means(values: Array, seeds: Labels) -> Array:
    """`[D, N]` numbers of N agents to `[D, S]` means of each seed."""
    return np.stack([values[:, seeds == seed].mean(axis=1) for seed in np.unique(seeds)], axis=1)
