"""Many agents' gradients to one, and how far they agree."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from metagenrl.base.checks import require
from metagenrl.base.messages import Array, defect, euclidean

__all__ = [
    "Array",
    "Contribution",
    "Cosines",
    "combine",
    "defect",
    "euclidean",
]


class Contribution(Protocol):
    """The part of a message that is averaged; `AlphaGradient` and `CohortGradient` have it."""

    @property
    def agent(self) -> int:
        """The agent that computed it, or the first of them."""
        ...

    @property
    def environment(self) -> str:
        """The environment the agent lives in."""
        ...

    @property
    def gradient(self) -> Array:
        """[P_alpha], of one agent or the mean of several."""
        ...

    @property
    def weight(self) -> int:
        """How many agents' mean the gradient is."""
        ...

    def unit_sum(self) -> NDArray[np.float64]:
        """The sum of their directions, [P_alpha]."""
        ...


@dataclass(frozen=True)
class Cosines:
    """Mean cosine over the pairs of gradients; None (or absent) where there is no pair."""

    overall: float | None
    by_environment: dict[str, float]  # pairs of agents in the same environment


def combine(contributions: Iterable[Contribution]) -> tuple[Array | None, Cosines]:
    """The agents' mean gradient, `[P_alpha]` (None: there is none), and how far they agree.

    The mean is Sum_i n_i g_i / Sum_i n_i over messages i of n_i agents each. It is summed in the
    order of the agents' numbers, in float64, so that the result is the same to the bit whichever
    gradient arrived first. Cosines: 1 the same way, 0 unrelated; a mean near 0 says that the
    averaged gradient is mostly noise at this population's size.

    One pass for both, since a thousand gradients fit in no cache. Raises `ValueError` for two
    messages of one agent.
    """
    ordered = sorted(contributions, key=lambda item: item.agent)
    agents = [item.agent for item in ordered]
    require(len(set(agents)) == len(agents), "gradients", agents, "one per agent")
    if not ordered:
        return None, Cosines(None, {})
    total = np.zeros(ordered[0].gradient.shape, np.float64)  # [P]
    directions: dict[str, NDArray[np.float64]] = {}  # sum of unit vectors, by environment
    counts: dict[str, int] = {}
    for item in ordered:
        n, name, gradient = item.weight, item.environment, item.gradient
        total += gradient if n == 1 else n * gradient.astype(np.float64)
        if name in directions:
            directions[name] += item.unit_sum()
        else:
            directions[name] = item.unit_sum()  # a fresh array, ours to add to
        counts[name] = counts.get(name, 0) + n
    mean = (total / sum(counts.values())).astype(np.float32)
    overall = _mean_cosine(np.sum(list(directions.values()), axis=0), sum(counts.values()))
    alike = {name: _mean_cosine(units, counts[name]) for name, units in directions.items()}
    return mean, Cosines(overall, {name: x for name, x in alike.items() if x is not None})


def _mean_cosine(total: NDArray[np.float64], n: int) -> float | None:
    """Over the pairs of `n` unit vectors whose sum is `total`."""
    if n < 2:
        return None
    # |sum_i u_i|^2 = n + sum over ordered pairs of u_i . u_j
    return (euclidean(total) ** 2 - n) / (n * (n - 1))
