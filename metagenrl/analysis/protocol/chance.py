"""How far meta-training seeds would seem to lie apart if only their agents' noise were there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from metagenrl.analysis.protocol.bootstrap import REPETITIONS, SEED, Scores, tables_of

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
    pools = tables_of({env: rule[env] for env in scores})  # [1, K] each
    tables = tables_of(scores)  # [S, K_e] each
    if min(pool.size for pool in pools) < LEAST_AGENTS or len(tables[0]) < 2:
        return None
    random = np.random.default_rng(SEED)
    ratios = []
    for pool, table in zip(pools, tables, strict=True):
        means = random.choice(pool.reshape(-1), size=(draws, *table.shape)).mean(axis=2)
        best = means.max(axis=1)
        ratios.append(means.min(axis=1)[best > 0] / best[best > 0])
    least = min(len(ratio) for ratio in ratios)
    if not least:
        return None
    return float(np.median(np.min([ratio[:least] for ratio in ratios], axis=0)))


def share_as_far_apart(seeds: Sequence[ArrayLike], draws: int = REPETITIONS) -> float | None:
    """Share of random assignments of all agents to seeds with means at least as far apart.

    A permutation test of whether meta-training seeds differ in one environment; "far" is the
    variance of the seeds' means. None for a single seed or a single agent of each.
    """
    table = tables_of({"one": seeds})[0]  # [S, K]
    if min(table.shape) < 2:
        return None
    everyone = np.tile(table.reshape(-1), (draws, 1))
    assigned = np.random.default_rng(SEED).permuted(everyone, axis=1).reshape(draws, *table.shape)
    found = table.mean(axis=1).var()
    rounding = 1e-12 * np.square(table).mean()
    return float(np.mean(assigned.mean(axis=2).var(axis=1) >= found - rounding))
