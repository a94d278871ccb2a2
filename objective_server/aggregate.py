"""Many agents' gradients to one, and how far they agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    "defect",
    "euclidean",
    "gradient_cosines",
    "weighted_mean",
]


class Contribution(Protocol):
    """What is needed of a message here; `AlphaGradient` and `CohortGradient` have it."""

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


def weighted_mean(
    contributions: Iterable[Contribution], weights: Mapping[int, float] | None = None
) -> Array:
    """Sum_i w_i g_i / Sum_i w_i over messages i, whose `weight` w_i is, or `weights` by agent.

    Summed in the order of the agents' numbers, in float64, so that the result is the same to the
    bit whichever gradient arrived first. Returns [P] float32. Raises `ValueError` for none, two
    of one agent, or weights that are negative or sum to 0.
    """
    ordered = sorted(contributions, key=lambda item: item.agent)
    agents = [item.agent for item in ordered]
    require(len(ordered) > 0, "gradients", 0, "at least one")
    require(len(set(agents)) == len(agents), "gradients", agents, "one per agent")
    w = [float(item.weight if weights is None else weights[item.agent]) for item in ordered]
    require(min(w) >= 0 and sum(w) > 0, "weights", w, "numbers >= 0, not all 0")
    total = np.zeros(ordered[0].gradient.shape, np.float64)  # [P]
    for weight, item in zip(w, ordered, strict=True):
        total += item.gradient if weight == 1 else weight * item.gradient.astype(np.float64)
    return (total / sum(w)).astype(np.float32)


@dataclass(frozen=True)
class Cosines:
    """Mean cosine over the pairs of gradients; None (or absent) where there is no pair."""

    overall: float | None
    by_environment: dict[str, float]  # pairs of agents in the same environment


def gradient_cosines(contributions: Iterable[Contribution]) -> Cosines:
    """How far the agents agree on where alpha should go: 1 the same way, 0 unrelated.

    A mean near 0 says that the averaged gradient is mostly noise at this population's size.
    """
    sums: dict[str, NDArray[np.float64]] = {}  # of unit vectors, by environment
    counts: dict[str, int] = {}
    for item in sorted(contributions, key=lambda item: item.agent):
        name, units = item.environment, item.unit_sum()
        if name in sums:
            sums[name] += units
        else:
            sums[name] = units  # a fresh array, ours to add to
        counts[name] = counts.get(name, 0) + item.weight
    overall = _mean_cosine(sum(sums.values()), sum(counts.values()))
    means = {name: _mean_cosine(total, counts[name]) for name, total in sums.items()}
    return Cosines(overall, {name: mean for name, mean in means.items() if mean is not None})


def _mean_cosine(total: NDArray[np.float64] | int, n: int) -> float | None:
    """Over the pairs of `n` unit vectors whose sum is `total`."""
    if n < 2 or isinstance(total, int):
        return None
    # |sum_i u_i|^2 = n + sum over ordered pairs of u_i . u_j
    return (euclidean(total) ** 2 - n) / (n * (n - 1))
