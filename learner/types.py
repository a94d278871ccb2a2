"""Data that crosses module boundaries, and the glossary of shapes.

Shapes: `B` segments in a minibatch, `T` steps in a segment, `O` observation size, `A` action
size, `N` rows (`B * T`), `P` parameters of one network, `E` networks stacked in an ensemble.
Actions are always in [-1, 1]; environments scale them to their own bounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """A minibatch of trajectory segments that never cross an episode's end (section 2).

    A segment shorter than `T` is padded at its end with zeros. `observations[b, t]` is s_t and
    `observations[b, t + 1]` is the state that step t led to, also at the last valid step.
    """

    observations: torch.Tensor  # [B, T + 1, O]
    actions: torch.Tensor  # [B, T, A], in [-1, 1]
    rewards: torch.Tensor  # [B, T]
    terminated: torch.Tensor  # [B, T], 1 where s_{t+1} is terminal; a time limit is not
    mask: torch.Tensor  # [B, T], 1 on valid steps, a prefix of each row

    def to(self, dtype: torch.dtype) -> Batch:
        """The same batch in another floating-point type."""
        return Batch(
            self.observations.to(dtype),
            self.actions.to(dtype),
            self.rewards.to(dtype),
            self.terminated.to(dtype),
            self.mask.to(dtype),
        )


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
        """What the server remembers so that a retried message is applied at most once."""
        return (self.run, self.agent, self.incarnation, self.round, self.version)
