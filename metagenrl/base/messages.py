"""What agents send to the objective server: gradients of alpha, alone or a cohort's together.

Nothing here needs torch, so that the server's process does without it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Defect = Literal["non_finite", "zero", "quarantined"]

_MOST = float(np.finfo(np.float32).max)
_SAME_LENGTH = 1e-5  # relative: what clipping to one norm leaves in float32


@dataclass(frozen=True)
class AlphaGradient:
    """One agent's meta-gradient for one round, with the identity that makes it apply once.

    `(run, agent, incarnation, round, version)` is unique: `incarnation` counts restarts of the
    agent's process, `round` the server's rounds and `version` the alpha it was computed with.
    """

    run: str
    agent: int
    incarnation: int
    round: int
    version: int
    gradient: Array  # [P_alpha], already clipped or normalised
    norm: float  # before clipping
    environment: str = ""

    @property
    def identity(self) -> tuple[str, int, int, int, int]:
        """The key by which the server applies a retried message at most once."""
        return (self.run, self.agent, self.incarnation, self.round, self.version)

    @cached_property
    def length(self) -> float:
        """`|gradient|`; the server's most expensive question about a message, so asked once."""
        return euclidean(self.gradient)

    @cached_property
    def shares(self) -> tuple[GradientShare, ...]:
        """The one agent's part."""
        found = defect(self.length, self.norm)
        return (GradientShare(self.agent, self.incarnation, self.version, self.norm, found),)

    @property
    def weight(self) -> int:
        """Agents whose mean `gradient` is."""
        return 1

    def unit_sum(self) -> NDArray[np.float64]:
        """The gradient's direction, `[P_alpha]`, of length 1."""
        return self.gradient.astype(np.float64) / self.length


@dataclass(frozen=True)
class GradientShare:
    """One agent's part in a message."""

    agent: int
    incarnation: int
    version: int
    norm: float  # of its gradient, before clipping
    defect: Defect | None = None  # why its gradient is not in the mean


@dataclass(frozen=True, eq=False)
class CohortGradient:
    """The mean of the gradients that one process computed for several agents in one round.

    Each agent keeps its own identity, `(run, share.agent, share.incarnation, round, version)`; the
    mean enters the server's round whole or not at all, since it cannot be taken apart.
    """

    run: str
    round: int
    version: int
    environment: str  # of all the agents
    shares: tuple[GradientShare, ...]  # by agent
    gradient: Array  # [P_alpha], mean over the shares without a defect; 0 where there is none
    length: float  # of each of those gradients, as far as `directions` is None
    directions: Array | None  # [P_alpha], sum of the unit gradients, where lengths differ

    @property
    def agent(self) -> int:
        """The first agent in the mean: the name that the message goes by."""
        return min((s.agent for s in self.shares if s.defect is None), default=self.shares[0].agent)

    @property
    def weight(self) -> int:
        """Agents whose mean `gradient` is."""
        return sum(share.defect is None for share in self.shares)

    def unit_sum(self) -> NDArray[np.float64]:
        """Sum of the directions of the gradients in the mean, `[P_alpha]`."""
        return unit_sum(self.gradient, self.weight, self.length, self.directions)


def unit_sum(
    mean: Array, weight: int, length: float, directions: Array | None
) -> NDArray[np.float64]:
    """Sum of `weight` unit vectors: as it was sent, or from the mean of vectors of one length."""
    if directions is not None:
        return directions.astype(np.float64)
    return mean.astype(np.float64) * (weight / length)


def average(
    gradients: Iterable[AlphaGradient], quarantined: Mapping[int, int] | None = None
) -> CohortGradient:
    """One message for the gradients of agents in one environment, run, round and version.

    Unsound gradients are left out of the mean, and so are those of `quarantined` agents (by agent
    the incarnation that the quarantine was imposed on); their shares say why. Summed in the order
    of the agents, in float64. Raises `ValueError` for none.
    """
    ordered = sorted(gradients, key=lambda item: item.agent)
    if not ordered:
        raise ValueError("gradients: got 0, allowed: at least one")
    shares, sound = [], []
    for item in ordered:
        banned = item.incarnation <= (quarantined or {}).get(item.agent, -1)
        found: Defect | None = "quarantined" if banned else defect(item.length, item.norm)
        shares.append(GradientShare(item.agent, item.incarnation, item.version, item.norm, found))
        if found is None:
            sound.append(item)
    lengths = [item.length for item in sound]
    total = np.zeros(ordered[0].gradient.shape, np.float64)
    for item in sound:
        total += item.gradient
    directions = None
    if lengths and max(lengths) - min(lengths) > _SAME_LENGTH * max(lengths):
        units = [
            item.gradient.astype(np.float64) / x for item, x in zip(sound, lengths, strict=True)
        ]
        directions = np.sum(units, axis=0).astype(np.float32)
    first = ordered[0]
    return CohortGradient(
        first.run, first.round, first.version, first.environment, tuple(shares),
        (total / max(len(sound), 1)).astype(np.float32), lengths[0] if lengths else 0.0, directions,
    )  # fmt: skip


def defect(length: float, norm: float) -> Literal["non_finite", "zero"] | None:
    """Why a gradient of this length must not enter the mean, or None; `norm` is before clipping.

    Squares that overflow float32 count as non-finite: Adam's second moment would stay infinite
    and the parameter would never move again.
    """
    if not (length**2 <= _MOST and math.isfinite(norm)):
        return "non_finite"
    return None if length > 0 else "zero"


def euclidean(vector: NDArray[np.floating[Any]]) -> float:
    """|x|_2, in float64 and without BLAS.

    BLAS starts threads even for vectors of this size: on busy cores they take a hundred times as
    long as the sum, and what they round depends on how many there are.
    """
    return float(np.sqrt(np.square(vector, dtype=np.float64).sum()))
