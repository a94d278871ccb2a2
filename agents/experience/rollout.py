"""Collecting experience: one environment, one replay buffer, exploration and failing steps."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from metagenrl.agents.environment.environment import (
    Environment,
    EpisodeNotReproducible,
    require_sizes,
)
from metagenrl.agents.environment.remote import RemoteEnvironment
from metagenrl.agents.environment.spec import drawn_environment
from metagenrl.agents.experience.failures import EpisodeFailures
from metagenrl.agents.experience.replay import Minibatch, ReplayBuffer
from metagenrl.agents.experience.segments import Segments
from metagenrl.agents.seeding import AgentSeeds, restore_rng, rng_state
from metagenrl.learner.hyperparams import AgentConfig
from metagenrl.learner.types import Array

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
EnvironmentMaker = Callable[[str, np.random.Generator], Environment | RemoteEnvironment]


@dataclass(frozen=True)
class Episode:
    """A finished episode."""

    undiscounted_return: float
    length: int
    cut: bool = False  # after the steps that an evaluation gives to an endless episode


class Rollout:
    """Steps an environment and stores what happened (section 2 and 5).

    The first `random_steps` of a life act uniformly at random; afterwards Gaussian noise is
    added to the policy's action and the sum clipped to [-1, 1].
    """

    def __init__(
        self,
        env_id: str,
        config: AgentConfig,
        seeds: AgentSeeds,
        make_environment: EnvironmentMaker = Environment,
        ranges: tuple[int, int] = (0, 0),
    ) -> None:
        """`ranges`: run seed and agent, from which each life draws the environment's ranges."""
        self.config, self._env_id, self._make = config, env_id, make_environment
        self._ranges = ranges
        self.environment = make_environment(self._met(0), seeds.environment)
        self.exploration, self.sampling = seeds.exploration, seeds.replay
        self.random_steps = config.random_steps
        self.failures = EpisodeFailures()
        self._begin_life()

    def _begin_life(self) -> None:
        environment = self.environment
        self.buffer = ReplayBuffer(
            self.config.replay_capacity, environment.observation_size, environment.action_size
        )
        self.life_steps, self.failures.count = 0, 0
        self._chosen: tuple[Array, Array] | None = None  # observation, action

    def _met(self, life: int) -> str:
        """The environment of a life: with a value from each of its ranges, if it has any."""
        return drawn_environment(self._env_id, *self._ranges, life)

    @property
    def drawn(self) -> str | None:
        """The environment with what its ranges gave this life; None: it has no ranges."""
        met = self.environment.env_id
        return met if met != self._env_id else None

    def _enter(self, met: str) -> None:
        """Go on in another environment; the stream of its seeds goes on as well.

        Raises `ValueError` where its sizes are others.
        """
        old = self.environment
        if met == old.env_id:
            return
        old.abandon_episode()
        rng = restore_rng(old.state_dict()["rng"])
        old.close()
        self.environment = self._make(met, rng)
        require_sizes(self.environment, (old.observation_size, old.action_size))

    def restart(self, random_steps: int, life: int = 0) -> None:
        """Begin a life: an empty buffer, a new episode, `random_steps` of random actions."""
        self.environment.abandon_episode()
        self._enter(self._met(life))
        self.random_steps = random_steps
        self._begin_life()

    @property
    def acts_randomly(self) -> bool:
        """Whether the next action is a random one, whatever the policy says."""
        return self.life_steps < self.random_steps

    def observe(self) -> Array:
        """The observation to act on, `[O]`; begins an episode where none is running.

        Raises `EnvironmentFailed` as `step` does.
        """
        while self.environment.observation is None:
            self._attempt(self.environment.reset)
        return self.environment.observation

    def choose(self, policy: Callable[[Array], Array]) -> None:
        """Decide on the action that `step` takes.

        An environment in another process begins with it. Raises what the policy raises, and
        `EnvironmentFailed` as `step` does.
        """
        observation = self.observe()
        action = self._explore(observation, policy)
        self._chosen = observation, action
        self.environment.begin(action)

    def step(self, policy: Callable[[Array], Array]) -> Episode | None:
        """One environment step, with the action that was chosen; the episode if it ended.

        An environment that raises loses its episode (the steps before stay usable) and gets
        another try, `PROVEN_RETRIES` in a row; then `EnvironmentFailed`. What the policy
        raises is not the environment's fault and is raised.
        """
        environment = self.environment
        while True:
            if self._chosen is None:
                self.choose(policy)
            assert self._chosen is not None
            (observation, action), self._chosen = self._chosen, None
            result = self._attempt(functools.partial(environment.step, action))
            if result is not None:
                break
        self.life_steps += 1
        self.buffer.add(
            observation, action, result.reward, result.observation,
            result.terminated, result.truncated,
        )  # fmt: skip
        self.failures.sound_step(result.ended, environment.episode_length)
        if not result.ended:
            return None
        return Episode(environment.episode_return, environment.episode_length)

    def _attempt(self, action: Callable[[], Result]) -> Result | None:
        """The environment's answer, or None where it raised and its episode is dropped."""
        try:
            return action()
        except Exception as error:
            self._dropped(error)
            return None

    def _explore(self, observation: Array, policy: Callable[[Array], Array]) -> Array:
        size = self.environment.action_size
        if self.acts_randomly:
            return self.exploration.uniform(-1.0, 1.0, size).astype(np.float32)
        noise = self.exploration.normal(0.0, self.config.exploration_noise, size)
        action = np.clip(policy(observation) + noise, -1.0, 1.0).astype(np.float32)
        if not np.isfinite(action).all():
            raise FloatingPointError(f"{self.environment.env_id}: the policy's action is {action}")
        return action

    def _dropped(self, error: Exception) -> None:
        self.failures.raised(self.environment.env_id, error, "dropped")
        self.environment.abandon_episode()
        self.buffer.end_episode()

    def sample(self, segments: int) -> Segments:
        """`segments` distinct segments of the buffer."""
        return self.buffer.sample(self.sampling, segments, self.config.segment_length)

    def minibatch(self, segments: int) -> Minibatch:
        """`sample`, not put together yet."""
        return self.buffer.minibatch(self.sampling, segments, self.config.segment_length)

    def state_dict(self) -> dict[str, Any]:
        """Environment (episode in progress included), buffer, exploration and counters."""
        return {
            "environment": self.environment.state_dict(),
            "buffer": self.buffer.state_dict(),
            "exploration": rng_state(self.exploration),
            "sampling": rng_state(self.sampling),
            "random_steps": self.random_steps,
            "life_steps": self.life_steps,
            **self.failures.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore; an episode that cannot be replayed exactly is dropped, with a warning."""
        self._begin_life()
        self.buffer.load_state_dict(state["buffer"])
        self.exploration = restore_rng(state["exploration"])
        self.sampling = restore_rng(state["sampling"])
        self.random_steps = int(state["random_steps"])
        self.life_steps = int(state["life_steps"])
        self.failures.load_state_dict(state)
        if "{" in self._env_id:  # what the saved life had drawn
            self._enter(state["environment"]["env_id"])
        try:
            self.environment.load_state_dict(state["environment"])
        except EpisodeNotReproducible as error:
            logger.warning("the episode in progress is dropped: %s", error)
            self.buffer.end_episode()
