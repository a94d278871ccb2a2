"""Many agents' gradients to one, and how far they agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from metagenrl.learner.hyperparams import require
from numpy.typing import NDArray

Array = NDArray[np.float32]


class Contribution(Protocol):
    """What is needed of a gradient here; `AlphaGradient` has it."""

    @property
    def agent(self) -> int:
        """The agent that computed it."""
        ...

    @property
    def environment(self) -> str:
        """The environment the agent lives in."""
        ...

    @property
    def gradient(self) -> Array:
        """[P_alpha]."""
        ...


def defect(gradient: Array, norm: float) -> Literal["non_finite", "zero"] | None:
    """Why a gradient must not enter the mean, or None; `norm` is the one before clipping.

    Squares that overflow float32 count as non-finite: Adam's second moment would stay infinite
    and the parameter would never move again.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        squared = np.square(gradient).sum(dtype=np.float32)
    if not (np.isfinite(squared) and np.isfinite(norm)):
        return "non_finite"
    return None if np.any(gradient) else "zero"


def weighted_mean(
    contributions: Iterable[Contribution], weights: Mapping[int, float] | None = None
) -> Array:
    """Sum_i w_i g_i / Sum_i w_i over agents i; every w_i is 1 where `weights` (by agent) is None.

    Summed in the order of the agents' numbers, in float64, so that the result is the same to the
    bit whichever gradient arrived first. Returns [P] float32. Raises `ValueError` for none, two
    of one agent, or weights that are negative or sum to 0.
    """
    ordered = sorted(contributions, key=lambda item: item.agent)
    agents = [item.agent for item in ordered]
    require(len(ordered) > 0, "gradients", 0, "at least one")
    require(len(set(agents)) == len(agents), "gradients", agents, "one per agent")
    w = [1.0 if weights is None else float(weights[agent]) for agent in agents]
    require(min(w) >= 0 and sum(w) > 0, "weights", w, "numbers >= 0, not all 0")
    total = np.zeros(ordered[0].gradient.shape, np.float64)  # [P]
    for weight, item in zip(w, ordered, strict=True):
        total += weight * item.gradient.astype(np.float64)
    return (total / sum(w)).astype(np.float32)


def euclidean(vector: NDArray[np.floating[Any]]) -> float:
    """|x|_2, in float64 and without BLAS.

    BLAS starts threads even for vectors of this size: on busy cores they take a hundred times as
    long as the sum, and what they round depends on how many there are.
    """
    return float(np.sqrt(np.square(vector, dtype=np.float64).sum()))


@dataclass(frozen=True)
class Cosines:
    """Mean cosine over the pairs of gradients; None (or absent) where there is no pair."""

    overall: float | None
    by_environment: dict[str, float]  # pairs of agents in the same environment


def gradient_cosines(contributions: Iterable[Contribution]) -> Cosines:
    """How far the agents agree on where alpha should go: 1 the same way, 0 unrelated.

    A mean near 0 says that the averaged gradient is mostly noise at this population's size.
    """
    groups: dict[str, list[NDArray[np.float64]]] = {}
    for item in sorted(contributions, key=lambda item: item.agent):
        unit = item.gradient.astype(np.float64) / euclidean(item.gradient)
        groups.setdefault(item.environment, []).append(unit)
    overall = _mean_cosine([unit for units in groups.values() for unit in units])
    means = {name: _mean_cosine(units) for name, units in groups.items()}
    return Cosines(overall, {name: mean for name, mean in means.items() if mean is not None})


def _mean_cosine(units: list[NDArray[np.float64]]) -> float | None:
    n = len(units)
    if n < 2:
        return None
    total = sum(units[1:], start=units[0])
    # |sum_i u_i|^2 = n + sum over ordered pairs of u_i . u_j
    return (euclidean(total) ** 2 - n) / (n * (n - 1))
