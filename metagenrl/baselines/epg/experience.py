"""What an EPG agent has seen lately, as its loss wants it: scaled, padded, with a novelty bonus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metagenrl.learner.types import Array

_LEAST_DEVIATION = 0.1  # a dimension that hardly varies is not blown up (authors' code)
_HASH_BITS = 16

Float64 = NDArray[np.float64]


class RunningMoments:
    """Mean and standard deviation of each dimension over all that was ever seen."""

    def __init__(self, size: int) -> None:
        self.count = 0
        self.total, self.squares = np.zeros(size), np.zeros(size)

    def update(self, rows: Array) -> None:
        """Take in `[N, size]`."""
        wide = rows.astype(np.float64)
        self.count += len(rows)
        self.total += wide.sum(0)
        self.squares += np.square(wide).sum(0)

    @property
    def mean(self) -> Float64:
        """[size]; 0 before anything was seen."""
        return self.total / max(self.count, 1)

    @property
    def deviation(self) -> Float64:
        """[size], at least 0.1; 1 before anything was seen."""
        if not self.count:
            return np.ones_like(self.total)
        variance = self.squares / self.count - np.square(self.mean)
        return np.sqrt(np.maximum(variance, _LEAST_DEVIATION**2))

    @property
    def magnitude(self) -> Float64:
        """[size], root mean square, 1 where all was 0: a scale that leaves constants visible."""
        root = np.sqrt(self.squares / max(self.count, 1))
        return np.where(root > 0, root, 1.0)

    def state_dict(self) -> dict[str, Any]:
        """The sums."""
        return {"count": self.count, "total": self.total.copy(), "squares": self.squares.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.count = int(state["count"])
        self.total, self.squares = state["total"].copy(), state["squares"].copy()


class NoveltyBonus:
    """1 / sqrt(visits) of an observation's cell, by SimHash (Tang et al. 2017)."""

    def __init__(self, observation_size: int, rng: np.random.Generator) -> None:
        self._planes = rng.standard_normal((observation_size, _HASH_BITS))
        self.visits = np.zeros(2**_HASH_BITS, np.int32)

    def visit(self, observations: Array) -> Array:
        """Count normalised observations `[N, O]`; each one's bonus `[N]`, in (0, 1]."""
        bits = observations @ self._planes > 0  # [N, bits]
        cells = bits @ (1 << np.arange(_HASH_BITS))
        np.add.at(self.visits, cells, 1)
        return np.asarray(self.visits[cells] ** -0.5, np.float32)


@dataclass(frozen=True)
class Transition:
    """One environment step."""

    observation: Array  # [O]
    action: Array  # [A], as the policy drew it
    reward: float
    next_observation: Array  # [O]
    terminated: bool
    truncated: bool


@dataclass(frozen=True, eq=False)
class Window:
    """The newest steps, as raw numbers."""

    observations: Array  # [N, O]
    actions: Array  # [N, A]
    rewards: Array  # [N]
    next_observations: Array  # [N, O]
    terminated: Array  # [N]
    ended: Array  # [N]
    bonus: Array  # [N]

    def last(self, steps: int) -> Window:
        """Its last `steps`."""
        return Window(*(column[-steps:] for column in vars(self).values()))


class Experience:
    """The last `capacity` steps in order, and running scales over all steps."""

    def __init__(
        self, capacity: int, observation_size: int, action_size: int, rng: np.random.Generator
    ) -> None:
        self.capacity = capacity
        o, a = observation_size, action_size
        self._columns: dict[str, Array] = {
            name: np.zeros((0, *shape), np.float32)
            for name, shape in (
                ("observations", (o,)), ("actions", (a,)), ("rewards", ()),
                ("next_observations", (o,)), ("terminated", ()), ("ended", ()), ("bonus", ()),
            )
        }  # fmt: skip
        self.observation_scale, self.action_scale = RunningMoments(o), RunningMoments(a)
        self.reward_scale = RunningMoments(1)
        self._novelty = NoveltyBonus(o, rng)

    def add(self, steps: list[Transition]) -> None:
        """Append steps; the oldest make room. The scales take them in as well."""
        observations = np.stack([step.observation for step in steps])
        actions = np.stack([step.action for step in steps])
        rewards = np.array([step.reward for step in steps], np.float32)
        self.observation_scale.update(observations)
        self.action_scale.update(actions)
        self.reward_scale.update(rewards[:, None])
        new: dict[str, Array] = {
            "observations": observations,
            "actions": actions,
            "rewards": rewards,
            "next_observations": np.stack([step.next_observation for step in steps]),
            "terminated": np.array([step.terminated for step in steps], np.float32),
            "ended": np.array([step.terminated or step.truncated for step in steps], np.float32),
            "bonus": self._novelty.visit(self.normalized(observations)),
        }
        for name, column in self._columns.items():
            self._columns[name] = np.concatenate([column, new[name]])[-self.capacity :]

    def end_episode(self) -> None:
        """The newest step was its episode's last one: what came after it is lost."""
        self._columns["ended"][-1:] = 1.0

    def window(self) -> Window:
        """Everything that is kept."""
        return Window(**self._columns)

    def normalized(self, observations: Array) -> Array:
        """Observations `[..., O]` with zero mean and unit deviation."""
        scale = self.observation_scale
        return ((observations - scale.mean) / scale.deviation).astype(np.float32)

    def features(self, window: Window, observation_size: int, action_size: int) -> Tensor:
        """What the loss sees of each step but policy and memory: `[N, O' + A' + 3]`.

        Normalised observation and action, zero-padded to O' and A'; the reward over its root mean
        square, the novelty bonus, and whether the episode ended.
        """
        actions = (window.actions - self.action_scale.mean) / self.action_scale.deviation
        rewards = window.rewards / self.reward_scale.magnitude
        columns = [
            padded(self.normalized(window.observations), observation_size),
            padded(actions, action_size),
            np.stack([rewards, window.bonus, window.ended], 1),
        ]
        return torch.from_numpy(np.concatenate(columns, 1).astype(np.float32))

    def state_dict(self) -> dict[str, Any]:
        """Steps, scales and visits."""
        return {
            "columns": {name: column.copy() for name, column in self._columns.items()},
            "observation_scale": self.observation_scale.state_dict(),
            "action_scale": self.action_scale.state_dict(),
            "reward_scale": self.reward_scale.state_dict(),
            "visits": self._novelty.visits.copy(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; the hash's planes are the seed's."""
        self._columns = {name: state["columns"][name].copy() for name in self._columns}
        self.observation_scale.load_state_dict(state["observation_scale"])
        self.action_scale.load_state_dict(state["action_scale"])
        self.reward_scale.load_state_dict(state["reward_scale"])
        self._novelty.visits[:] = state["visits"]


def padded(rows: NDArray[Any], size: int) -> NDArray[Any]:
    """`[N, D]` with zeros appended to `[N, size]`."""
    return np.pad(rows, ((0, 0), (0, size - rows.shape[1])))
