"""Our environments as Gymnasium's, for libraries that step environments themselves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import gymnasium
import numpy as np

from metagenrl.agents.environment.environment import Array
from metagenrl.agents.experience.rollout import Episode
from metagenrl.agents.seeding import restore_rng, rng_state
from metagenrl.baselines.reward_scale import RewardScale
from metagenrl.baselines.steady_environment import SteadyEnvironment


def unbounded(size: int) -> gymnasium.spaces.Box:
    """The space of all float32 vectors `[size]`."""
    return gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)


def centred(size: int) -> gymnasium.spaces.Box:
    """The space of actions, `[size]` in [-1, 1]."""
    return gymnasium.spaces.Box(-1.0, 1.0, (size,), np.float32)


class RecordedEnv(gymnasium.Env[Array, Array], ABC):
    """Remembers which episodes ended at which step, with unscaled returns."""

    def __init__(self) -> None:
        self._clock, self._finished = 0, dict[int, Episode]()

    def tick(self, finished: list[Episode]) -> None:
        """Count a step, in which at most one episode ended."""
        self._clock += 1
        if finished:
            self._finished[self._clock] = finished[-1]

    def take_finished(self) -> dict[int, Episode]:
        """Episodes by the step since the last call (1 ...) at which they ended."""
        finished, self._clock, self._finished = self._finished, 0, {}
        return finished

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """All but the running episode, which a restored run begins anew."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave, between episodes."""


class GymView(RecordedEnv):
    """Flat float32 observations, actions in [-1, 1], rewards on the scale of one.

    The seed of each episode comes from the environment's own stream, whatever `reset` is given,
    so that an agent's episodes are those of every other algorithm with the same seed.
    """

    def __init__(self, env_id: str, rng: np.random.Generator, gamma: float) -> None:
        super().__init__()
        self.steady, self.rewards = SteadyEnvironment(env_id, rng), RewardScale(gamma)
        environment = self.steady.environment
        self.observation_space = unbounded(environment.observation_size)
        self.action_space = centred(environment.action_size)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Begin an episode; a running one is dropped."""
        return self.steady.reset(), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """One step, in Gymnasium's form. Raises `EnvironmentFailed`."""
        result = self.steady.step(action)
        self.tick(self.steady.take_finished())
        reward = self.rewards(result.reward, result.terminated or result.truncated)
        return result.observation, reward, result.terminated, result.truncated, {}

    def close(self) -> None:
        """Free the environment."""
        self.steady.close()

    def state_dict(self) -> dict[str, Any]:
        """All but the running episode, which a restored run begins anew."""
        rng = rng_state(self.steady.environment.rng)
        return {"rng": rng, "rewards": self.rewards.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave, between episodes."""
        self.steady.environment.abandon_episode()
        self.steady.environment.rng = restore_rng(state["rng"])
        self.rewards.load_state_dict(state["rewards"])
        self.rewards.discounted = 0.0
