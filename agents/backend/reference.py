"""The reference: the equations of `metagenrl.learner` with agents along a leading axis.

It has every variant of the method, any fixed objective, and any device. On a GPU all agents compute
at once. On a CPU each computes for itself: at the paper's sizes four agents at once take a third
longer than one after the other (docs/performance.md), since what they pass on no longer fits into
the cache; and an agent gets to the bit what it would get alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

import torch

from metagenrl.agents.backend.at_once import AtOnce
from metagenrl.agents.backend.interface import (
    CriticDraw,
    CriticStep,
    NetworksState,
    PolicyDraw,
    PolicyStep,
    Setting,
)
from metagenrl.learner.native import library
from metagenrl.learner.ops import PLAIN, Ops
from metagenrl.learner.types import Array

T = TypeVar("T")


class Reference:
    """See `Backend`: blocks of agents that compute at once, one block after the other."""

    def __init__(
        self,
        setting: Setting,
        slots: int = 1,
        device: torch.device | None = None,
        at_once: int = 1,
        ops: Ops = PLAIN,
    ) -> None:
        self._at_once, self.slots = at_once, slots
        self._device = device or torch.device("cpu")
        count = -(-slots // at_once)
        self._blocks = [AtOnce(setting, at_once, self._device, ops) for _ in range(count)]

    @property
    def name(self) -> str:
        if self._device.type != "cpu":
            return f"reference {self._device.type}"
        together = f", {self._at_once} at once" if self._at_once > 1 else ""
        return f"reference cpu {library.backend()}{together}"

    def load(self, slot: int, networks: NetworksState) -> None:
        self._blocks[slot // self._at_once].load(slot % self._at_once, networks)

    def networks(self, slot: int) -> NetworksState:
        return self._blocks[slot // self._at_once].networks(slot % self._at_once)

    def act(self, observations: Mapping[int, Array]) -> Mapping[int, Array]:
        return {
            first + slot: action
            for first, block, own in self._by_block(observations)
            for slot, action in block.act(own).items()
        }

    def update_critics(self, draws: Mapping[int, CriticDraw]) -> Mapping[int, CriticStep]:
        return {
            first + slot: step
            for first, block, own in self._by_block(draws)
            for slot, step in block.update_critics(own).items()
        }

    def update_policies(
        self, alpha: Array, draws: Mapping[int, PolicyDraw]
    ) -> Mapping[int, PolicyStep]:
        return {
            first + slot: step
            for first, block, own in self._by_block(draws)
            for slot, step in block.update_policies(alpha, own).items()
        }

    def _by_block(self, given: Mapping[int, T]) -> Iterator[tuple[int, AtOnce, dict[int, T]]]:
        """Each block that something is for: its first slot, itself, and that by its own slots."""
        parts: dict[int, dict[int, T]] = {}
        for slot, value in given.items():
            parts.setdefault(slot // self._at_once, {})[slot % self._at_once] = value
        for index, own in parts.items():
            yield index * self._at_once, self._blocks[index], own
