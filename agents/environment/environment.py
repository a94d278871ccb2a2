"""Any Gymnasium environment with a Box observation and a bounded Box action, as arrays.

Observations are flattened to float32 and actions live in [-1, 1] (section 2). A running episode
is saved as its reset seed and its actions: that works for every environment that is
deterministic given its seed, and a restored episode is checked against the saved one.

Not every environment is: BipedalWalker-v3 and CarRacing-v3 keep their Box2D world from episode
to episode, so contacts of earlier episodes can change a replayed one by rounding errors. Where
the saved state itself is not met, `EpisodeNotReproducible` says so; a difference that shows only
later cannot be seen. Pendulum, MountainCarContinuous, LunarLanderContinuous and the MuJoCo
environments agree bit for bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from metagenrl.agents.environment.guard import as_exceptions, guarded
from metagenrl.agents.environment.make import (
    EnvironmentFacts,
    check_environment,
    close_environment,
    make_environment,
    same_environment,
)
from metagenrl.agents.seeding import restore_rng, rng_state
from metagenrl.base.checks import require

__all__ = [
    "Environment",
    "EnvironmentFacts",
    "EpisodeNotReproducible",
    "StepResult",
    "check_environment",
    "require_sizes",
]

Array = NDArray[np.float32]  # as in learner.types, whose import would bring torch along

_LARGEST = float(np.finfo(np.float32).max)  # of rewards, which are stored as float32


class EpisodeNotReproducible(RuntimeError):  # noqa: N818 - the caller goes on without the episode
    """Replaying an episode's seed and actions did not lead to the saved state.

    The environment stands at an episode's boundary: drop the episode and `reset`.
    """


@dataclass(frozen=True, eq=False)
class StepResult:
    """The result of one action."""

    observation: Array  # [O]
    reward: float
    terminated: bool  # the state is terminal: nothing to bootstrap from
    truncated: bool  # a time limit: the episode ends but the state's value counts
    cut: bool = False  # the time limit is ours, and not the environment's

    @property
    def ended(self) -> bool:
        """Whether it was the episode's last step."""
        return self.terminated or self.truncated


def require_sizes(environment: Any, wanted: tuple[int, int]) -> None:
    """Raise `ValueError` where an environment has not these sizes (O, A) of its agent's networks.

    An environment's code may give each instance others.
    """
    found = (environment.observation_size, environment.action_size)
    require(found == wanted, environment.env_id, found, f"the sizes of other lives, {wanted}")


class Environment:
    """One environment and its running episode.

    `observation` [O] is the running episode's newest one, None between episodes.
    `episode_return` (undiscounted) and `episode_length` (steps) are those of the running or,
    between episodes, of the last episode. `rng` gives each episode its seed; it belongs to this
    environment, and `load_state_dict` replaces it.
    """

    def __init__(self, env_id: str, rng: np.random.Generator, limit: int | None = None) -> None:
        """`limit` truncates episodes of an environment that has no limit of its own.

        Raises `ValueError` as `check_environment` does.
        """
        self._env, self.facts = make_environment(env_id)
        space: Any = self._env.action_space
        self._action_space = space
        self._low = space.low.reshape(-1).astype(np.float64)  # [A]
        self._high = space.high.reshape(-1).astype(np.float64)  # [A]
        self.env_id = env_id
        self.observation_size = self.facts.observation_size
        self.action_size = self.facts.action_size
        self.limit = limit if self.facts.max_episode_steps is None else None
        self.rng = rng
        self.observation: Array | None = None
        self.episode_return = 0.0
        self.episode_length = 0
        self._seed = 0
        self._actions = bytearray()  # float32 [episode_length, A]: compact in endless episodes

    def reset(self) -> Array:
        """Begin an episode from a fresh seed and return its first observation, [O].

        Raises whatever the environment raises, and `RuntimeError` as `step` does.
        """
        return self._begin(int(self.rng.integers(2**31)))

    def begin(self, action: ArrayLike) -> None:
        """`step` with this action comes next; see `remote.py`. Does nothing here."""

    def step(self, action: ArrayLike) -> StepResult:
        """Take `action` [A], scaled from [-1, 1] (clipped) to each dimension's bounds.

        Raises `ValueError` for an action of another shape or not finite, `RuntimeError` between
        episodes and where the environment returns a number that is not finite, and whatever the
        environment raises. An exception of the environment abandons the episode.
        """
        if self.observation is None:
            raise RuntimeError(f"{self.env_id}: step called between episodes, reset comes first")
        action = np.asarray(action, np.float32)  # [A]
        wanted = (self.action_size,)
        require(action.shape == wanted, "action", action.shape, f"shape {wanted}")
        require(bool(np.isfinite(action).all()), "action", action.tolist(), "finite numbers")
        try:
            result = self._taken(action)
        except Exception:
            self.abandon_episode()
            raise
        self._actions += action.tobytes()
        self.episode_return += result.reward
        self.episode_length += 1
        if self.limit is not None and self.episode_length >= self.limit and not result.ended:
            result = replace(result, truncated=True, cut=True)
        self.observation = None if result.ended else result.observation
        return result

    def abandon_episode(self) -> None:
        """Forget the running episode, if there is one; `reset` comes next."""
        self.observation = None

    def close(self) -> None:
        """Free what the environment holds; it cannot be used afterwards.

        What the environment raises is logged: the run has all that it needs of it.
        """
        self.abandon_episode()
        close_environment(self._env, self.env_id)

    def state_dict(self) -> dict[str, Any]:
        """The generator and the running episode: its seed, actions and newest observation."""
        running = self.observation is not None
        actions = np.frombuffer(bytes(self._actions), np.float32)
        return {
            "env_id": self.env_id,
            "rng": rng_state(self.rng),
            "episode_return": self.episode_return,
            "episode_length": self.episode_length,
            "seed": self._seed if running else None,
            "actions": actions.reshape(-1, self.action_size).copy() if running else None,
            "observation": None if self.observation is None else self.observation.copy(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the saved environment stood, replaying its running episode step by step.

        Raises `EpisodeNotReproducible` where the replay leads elsewhere: then the generator is
        restored all the same and the episode abandoned, so that `reset` starts the next one.
        Raises `ValueError` for another environment's state.
        """
        saved = str(state["env_id"])  # of older releases as it was typed
        same = saved == self.env_id or same_environment(saved, self.env_id)
        require(same, "env_id", saved, self.env_id)
        self.rng = restore_rng(state["rng"])
        self.abandon_episode()
        if state["observation"] is not None:
            try:
                self._replay(state)
            except Exception as error:
                self.abandon_episode()
                episode = f"{state['episode_length']} steps from seed {state['seed']}"
                raise EpisodeNotReproducible(f"{self.env_id}: {episode}: {error}") from error
        self.episode_return = float(state["episode_return"])
        self.episode_length = int(state["episode_length"])

    def _replay(self, state: dict[str, Any]) -> None:
        """Take the saved episode's actions; raises where a bit differs from what was saved."""
        self._begin(int(state["seed"]))
        for action in state["actions"]:
            self.step(action)
        if self.observation is None:
            raise RuntimeError("the replayed episode is over, the saved one was not")
        if self.observation.tobytes() != state["observation"].tobytes():
            raise RuntimeError("the replayed observation differs from the saved one")
        if self.episode_return != state["episode_return"]:
            raise RuntimeError("the replayed return differs from the saved one")

    def _begin(self, seed: int) -> Array:
        self.abandon_episode()
        with guarded(self.env_id), as_exceptions():
            observation, _ = self._env.reset(seed=seed)
        self.observation = self._flattened(observation)
        self._seed = seed
        self._actions = bytearray()
        self.episode_return = 0.0
        self.episode_length = 0
        return self.observation

    def _taken(self, action: Array) -> StepResult:
        """The environment's answer, checked."""
        scaled = self._low + (action.astype(np.float64) + 1.0) / 2.0 * (self._high - self._low)
        space = self._action_space
        clipped = np.clip(scaled, self._low, self._high).astype(space.dtype).reshape(space.shape)
        with guarded(self.env_id, step=True), as_exceptions():
            observation, reward, terminated, truncated, _ = self._env.step(clipped)
        return StepResult(
            self._flattened(observation), self._number(reward), bool(terminated), bool(truncated)
        )

    def _number(self, reward: Any) -> float:
        """The reward as one number, which an array of one element is too."""
        try:
            value = float(np.asarray(reward).item())
        except (TypeError, ValueError):
            value = math.nan
        if not abs(value) <= _LARGEST:  # false for NaN as well
            raise RuntimeError(f"{self.env_id}: the environment returned the reward {reward}")
        return value

    def _flattened(self, observation: Any) -> Array:
        """A float32 copy, [O]; environments may reuse the array that they return."""
        with np.errstate(over="ignore"):  # what float32 cannot hold is said below
            flat = np.array(observation, np.float32).reshape(-1)
        if flat.size != self.observation_size or not np.isfinite(flat).all():
            found = f"{flat.size} numbers, {int(np.isfinite(flat).sum())} of them finite in float32"
            wanted = f"{self.observation_size} finite ones"
            raise RuntimeError(f"{self.env_id}: the observation has {found}, not {wanted}")
        return flat
