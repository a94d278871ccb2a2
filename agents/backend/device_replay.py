"""Replay buffers of K agents on a device, where their minibatches are put together.

The agents' own buffers stay the truth: they draw, and they are what is saved. This copy follows
them step by step, so that of a minibatch only the places of its segments travel.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from metagenrl.agents.backend.graph import to_device
from metagenrl.agents.experience.replay import ReplayBuffer
from metagenrl.agents.experience.segments import Draw
from metagenrl.learner.types import Batch

_FIRST_ROWS = 1024  # room at first, doubled as rings fill: a large capacity costs nothing early


class DeviceReplay:
    """Rows of every agent's ring by its slot `0 .. K - 1`, each with one step."""

    def __init__(
        self, slots: int, capacity: int, sizes: tuple[int, int], device: torch.device
    ) -> None:
        """`capacity` is that of the agents' buffers, `sizes` are observation and action size."""
        self._slots, self._capacity, self._device = slots, capacity, device
        observation, action = sizes
        self._columns = [observation, observation, action, 1, 1]  # as `ReplayBuffer.packed`
        room = min(capacity, _FIRST_ROWS)
        self._rows = torch.zeros(slots, room, sum(self._columns), device=device)

    def load(self, slot: int, buffer: ReplayBuffer) -> None:
        """Take over a whole buffer."""
        self._reserve(len(buffer))
        rows = torch.from_numpy(buffer.packed(slice(0, len(buffer))))
        self._rows[slot, : len(rows)] = to_device(rows, self._device)

    def append(self, buffers: Mapping[int, ReplayBuffer]) -> None:
        """Follow the newest step of these slots' buffers."""
        rows = [buffer.newest for buffer in buffers.values()]
        self._reserve(1 + max(rows))
        steps = [b.packed(slice(b.newest, b.newest + 1)) for b in buffers.values()]
        values = to_device(torch.from_numpy(np.concatenate(steps)), self._device)
        slot, row = to_device(torch.tensor([list(buffers), rows]), self._device)
        self._rows[slot, row] = values

    def _reserve(self, rows: int) -> None:
        room = self._rows.shape[1]
        if rows <= room:
            return
        room = min(self._capacity, max(rows, 2 * room))
        larger = self._rows.new_zeros(self._slots, room, self._rows.shape[2])
        larger[:, : self._rows.shape[1]] = self._rows
        self._rows = larger

    def gather(self, draws: Mapping[int, Draw], segments: int, length: int) -> Batch:
        """`ReplayBuffer.gather` of every slot: `[K, B, ...]`; all is padding where none drew."""
        places = np.zeros((2, self._slots, segments), np.int64)
        for slot, draw in draws.items():
            places[:, slot] = draw.first, draw.steps
        first, steps = to_device(torch.from_numpy(places), self._device)
        t = torch.arange(length, device=self._device)
        valid = t < steps.unsqueeze(-1)  # [K, B, T]
        last = self._rows.shape[1] - 1  # padding may point beyond what is there
        rows = ((first.unsqueeze(-1) + t) % self._capacity).clamp(max=last)
        slots = torch.arange(self._slots, device=self._device).view(-1, 1, 1)
        found = torch.where(valid.unsqueeze(-1), self._rows[slots, rows], 0.0)
        s, s_next, actions, rewards, terminated = found.split(self._columns, -1)
        return Batch(
            torch.cat([s[:, :, :1], s_next], 2),
            actions.contiguous(),
            rewards.squeeze(-1),
            terminated.squeeze(-1),
            valid.to(found.dtype),
        )


def halves(batch: Batch) -> tuple[Batch, Batch]:
    """The first and the second half of every agent's segments: disjoint minibatches."""
    parts = (x.chunk(2, 1) for x in fields(batch))
    first, second = zip(*parts, strict=True)
    return Batch(*first), Batch(*second)


def fields(batch: Batch) -> tuple[Tensor, ...]:
    """The tensors of a minibatch."""
    return (batch.observations, batch.actions, batch.rewards, batch.terminated, batch.mask)
