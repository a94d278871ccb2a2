"""Replay buffers of K agents on a device, where their minibatches are put together.

The agents' own buffers stay the truth: they draw, and they are what is saved. This copy follows
them step by step, so that of a minibatch only the places of its segments travel.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metagenrl.agents.backend.graph import to_device
from metagenrl.agents.experience.replay import Minibatch, ReplayBuffer
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
        self._known: dict[int, tuple[ReplayBuffer, int]] = {}  # and steps added to it so far
        room = min(capacity, _FIRST_ROWS)
        self._rows = torch.zeros(slots, room, sum(self._columns), device=device)

    def follow(self, buffers: Mapping[int, ReplayBuffer]) -> None:
        """Take over what was added to these slots' buffers since, or a buffer that is new."""
        rows: dict[int, NDArray[np.int64]] = {}
        for slot, buffer in buffers.items():
            known, added = self._known.get(slot, (None, 0))
            new = buffer.added - added
            if known is not buffer or new >= len(buffer):
                self._load(slot, buffer)
            elif new:
                rows[slot] = (buffer.newest - np.arange(new)) % buffer.capacity
            self._known[slot] = buffer, buffer.added
        if rows:
            self._append({slot: buffers[slot] for slot in rows}, rows)

    def _load(self, slot: int, buffer: ReplayBuffer) -> None:
        self._reserve(len(buffer))
        rows = torch.from_numpy(buffer.packed(slice(0, len(buffer))))
        self._rows[slot, : len(rows)] = to_device(rows, self._device)

    def _append(
        self, buffers: Mapping[int, ReplayBuffer], rows: Mapping[int, NDArray[np.int64]]
    ) -> None:
        self._reserve(1 + max(int(own.max()) for own in rows.values()))
        steps = [buffer.packed(rows[slot]) for slot, buffer in buffers.items()]
        values = to_device(torch.from_numpy(np.concatenate(steps)), self._device)
        owners = np.concatenate([np.full(len(own), slot) for slot, own in rows.items()])
        places = np.stack([owners, np.concatenate([*rows.values()])])
        slot, row = to_device(torch.from_numpy(places), self._device)
        self._rows[slot, row] = values

    def _reserve(self, rows: int) -> None:
        room = self._rows.shape[1]
        if rows <= room:
            return
        room = min(self._capacity, max(rows, 2 * room))
        larger = self._rows.new_zeros(self._slots, room, self._rows.shape[2])
        larger[:, : self._rows.shape[1]] = self._rows
        self._rows = larger

    def minibatches(self, draws: Mapping[int, Minibatch], segments: int, length: int) -> Batch:
        """The minibatches that agents drew, `[K, B, ...]`; a slot without a draw is padding."""
        self.follow({slot: draw.buffer for slot, draw in draws.items()})
        return self.gather({slot: d.places() for slot, d in draws.items()}, segments, length)

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


class OwnReplay:
    """One agent's own buffer, where it is in reach: nothing is kept twice."""

    def __init__(self, sizes: tuple[int, int]) -> None:
        self._sizes = sizes

    def minibatches(self, draws: Mapping[int, Minibatch], segments: int, length: int) -> Batch:
        """See `DeviceReplay.minibatches`."""
        if draws:
            return Batch(*(x.unsqueeze(0) for x in fields(draws[0].segments().batch())))
        (observation, action), rows = self._sizes, (1, segments, length)
        return Batch(
            torch.zeros(1, segments, length + 1, observation), torch.zeros(*rows, action),
            *(torch.zeros(rows) for _ in range(3)),
        )  # fmt: skip


def replay_on(
    device: torch.device, slots: int, capacity: int, sizes: tuple[int, int]
) -> DeviceReplay | OwnReplay:
    """Where minibatches of K agents come from on this device."""
    if device.type == "cpu" and slots == 1:
        return OwnReplay(sizes)
    return DeviceReplay(slots, capacity, sizes, device)


def chunks(batch: Batch, count: int) -> tuple[Batch, ...]:
    """`count` minibatches with equal parts of every agent's segments: they are disjoint."""
    parts = (x.chunk(count, 1) for x in fields(batch))
    return tuple(Batch(*part) for part in zip(*parts, strict=True))


def fields(batch: Batch) -> tuple[Tensor, ...]:
    """The tensors of a minibatch."""
    return (batch.observations, batch.actions, batch.rewards, batch.terminated, batch.mask)
