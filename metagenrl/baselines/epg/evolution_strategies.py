"""Evolution strategies (Salimans et al. 2017) on one flat vector of parameters."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from metagenrl.base.checks import require

Array32 = NDArray[np.float32]
Array64 = NDArray[np.float64]


def noise_vectors(count: int, size: int, antithetic: bool, rng: np.random.Generator) -> Array32:
    """`[count, size]` standard normal vectors; antithetic: the vectors 2i and 2i + 1 are +-eps_i.

    Raises `ValueError` where an odd number of antithetic vectors is wanted.
    """
    if not antithetic:
        return rng.standard_normal((count, size), np.float32)
    require(count % 2 == 0, "noise_vectors", count, "an even number where they are antithetic")
    half = rng.standard_normal((count // 2, size), np.float32)
    return np.stack([half, -half], 1).reshape(count, size)


def centered_ranks(fitness: Sequence[float] | Array64, groups: Sequence[Hashable]) -> Array64:
    """Ranks within each group, from -0.5 (the worst) to 0.5: `[V] -> [V]`, equal ones alike.

    Only what is comparable shares a group: returns of different environments are not. Groups of
    one member tell nothing and get 0.
    """
    fitness = np.asarray(fitness, np.float64)
    ranks = np.zeros(len(fitness))
    for group in dict.fromkeys(groups):
        members = np.array([i for i, g in enumerate(groups) if g == group])
        values = fitness[members]
        if len(members) > 1:
            below = (values[:, None] > values[None, :]).sum(1)
            equal = (values[:, None] == values[None, :]).sum(1) - 1
            ranks[members] = (below + equal / 2) / (len(members) - 1) - 0.5
    return ranks


def evolution_gradient(scores: Array64, noise: Array32, sigma: float) -> Array32:
    """grad E[F(phi + sigma eps)] ~ 1 / (V sigma) sum_v F_v eps_v, the direction of ascent.

    `scores` [V] are F at phi + sigma `noise` [V, P], or their ranks; the result is [P].
    """
    gradient = scores.astype(np.float32) @ noise / np.float32(len(noise) * sigma)
    return np.asarray(gradient, np.float32)
