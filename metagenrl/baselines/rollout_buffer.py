"""One rollout of an on-policy agent, and its episodes as segments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metagenrl.agents.environment.environment import Array, StepResult

_ARRAYS = ("observations", "actions", "rewards", "next_observations", "terminated", "ended")


@dataclass(frozen=True)
class EpisodeSegments:
    """A rollout cut where its episodes ended: B pieces of up to T steps, padding at their ends."""

    observations: Tensor  # [B, T, O]
    actions: Tensor  # [B, T, A]
    rewards: Tensor  # [B, T]
    next_observations: Tensor  # [B, T, O]
    terminated: Tensor  # [B, T]
    mask: Tensor  # [B, T], 1 on valid steps


class RolloutBuffer:
    """Up to `capacity` consecutive steps, several episodes or pieces of them."""

    def __init__(self, capacity: int, observation_size: int, action_size: int) -> None:
        self.capacity, self.size = capacity, 0
        self.observations = np.zeros((capacity, observation_size), np.float32)
        self.actions = np.zeros((capacity, action_size), np.float32)
        self.rewards = np.zeros(capacity, np.float32)
        self.next_observations = np.zeros((capacity, observation_size), np.float32)
        self.terminated = np.zeros(capacity, np.float32)
        self.ended = np.zeros(capacity, np.bool_)  # by termination or a time limit

    @property
    def full(self) -> bool:
        """Whether there is no room for another step."""
        return self.size == self.capacity

    def add(self, observation: Array, action: Array, reward: float, result: StepResult) -> None:
        """Store a step: [O], [A], the reward to learn from, and what the step led to."""
        i = self.size
        self.observations[i], self.actions[i], self.rewards[i] = observation, action, reward
        self.next_observations[i] = result.observation
        self.terminated[i] = result.terminated
        self.ended[i] = result.terminated or result.truncated
        self.size = i + 1

    def clear(self) -> None:
        """Forget all steps."""
        self.size = 0

    def segments(self) -> EpisodeSegments:
        """All steps, cut after each episode's last one."""
        ends = [*(np.flatnonzero(self.ended[: self.size]) + 1)]
        if not ends or ends[-1] < self.size:
            ends.append(np.int64(self.size))
        starts = [0, *ends[:-1]]
        length = max(end - start for start, end in zip(starts, ends, strict=True))
        mask = np.zeros((len(ends), length), np.float32)
        for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
            mask[row, : end - start] = 1
        return EpisodeSegments(
            observations=self._cut(self.observations, mask),
            actions=self._cut(self.actions, mask),
            rewards=self._cut(self.rewards, mask),
            next_observations=self._cut(self.next_observations, mask),
            terminated=self._cut(self.terminated, mask),
            mask=torch.from_numpy(mask),
        )

    def _cut(self, values: NDArray[Any], mask: Array) -> Tensor:
        padded = np.zeros((*mask.shape, *values.shape[1:]), np.float32)
        padded[mask.astype(np.bool_)] = values[: self.size]
        return torch.from_numpy(padded)

    def state_dict(self) -> dict[str, Any]:
        """The steps that are there."""
        return {name: getattr(self, name)[: self.size].copy() for name in _ARRAYS}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.size = len(state["rewards"])
        for name in _ARRAYS:
            getattr(self, name)[: self.size] = state[name]
