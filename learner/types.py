"""Data that crosses module boundaries, and the glossary of shapes.

Shapes: `K` agents that compute together, `B` segments in a minibatch, `T` steps in a segment, `O`
observation size, `A` action size, `N` rows (`B * T`), `P` parameters of one network, `E` networks
stacked in an ensemble.
Actions are always in [-1, 1]; environments scale them to their own bounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from metagenrl.base.messages import AlphaGradient, Array

__all__ = ["AlphaGradient", "Array", "Batch"]


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

    @property
    def alone(self) -> Batch:
        """The same memory with a leading axis K = 1, for functions of K agents."""
        return Batch(
            self.observations[None],
            self.actions[None],
            self.rewards[None],
            self.terminated[None],
            self.mask[None],
        )

    def to(self, dtype: torch.dtype) -> Batch:
        """The same batch in another floating-point type."""
        return Batch(
            self.observations.to(dtype),
            self.actions.to(dtype),
            self.rewards.to(dtype),
            self.terminated.to(dtype),
            self.mask.to(dtype),
        )
