"""Trajectory segments: which steps of a replay buffer were drawn, and what stands there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from metagenrl.base.checks import require
from metagenrl.learner.types import Array, Batch


@dataclass(frozen=True, eq=False)
class Segments:
    """Sampled segments as numpy arrays; fields and shapes are those of `Batch`."""

    observations: Array  # [B, T + 1, O], zero after the last valid step's next observation
    actions: Array  # [B, T, A]
    rewards: Array  # [B, T]
    terminated: Array  # [B, T], 1 where s_{t+1} is terminal; a time limit is not
    mask: Array  # [B, T], 1 on valid steps, a prefix of each row

    def batch(self) -> Batch:
        """The same memory as torch tensors."""
        return Batch(
            torch.from_numpy(self.observations),
            torch.from_numpy(self.actions),
            torch.from_numpy(self.rewards),
            torch.from_numpy(self.terminated),
            torch.from_numpy(self.mask),
        )

    def split(self, count: int) -> tuple[Batch, ...]:
        """`count` minibatches of B / count segments each, in the same memory (section 6).

        They are disjoint: no two segments of one sample start at the same step. Raises
        `ValueError` unless `count` divides B.
        """
        total = len(self.mask)
        require(count >= 1 and total % count == 0, "count", count, f"a divisor of {total}")
        size = total // count
        parts = (slice(i * size, (i + 1) * size) for i in range(count))
        return tuple(
            Segments(
                self.observations[part],
                self.actions[part],
                self.rewards[part],
                self.terminated[part],
                self.mask[part],
            ).batch()
            for part in parts
        )


@dataclass(frozen=True, eq=False)
class Draw:
    """Which steps of a ring a sample consists of, in the order they were drawn."""

    first: NDArray[np.int64]  # [B], rows of the ring where segments start
    steps: NDArray[np.int64]  # [B], 1 to T: valid steps of each
