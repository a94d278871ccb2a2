"""An environment for on-policy learning: an episode that raises is cut, not fatal."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from metagenrl.agents.environment.environment import (
    Array,
    Environment,
    EpisodeNotReproducible,
    StepResult,
)
from metagenrl.agents.experience.failures import EpisodeFailures
from metagenrl.agents.experience.rollout import Episode

logger = logging.getLogger(__name__)


class SteadyEnvironment:
    """An `Environment` that keeps count of its failures and of its finished episodes.

    A step that raises ends its episode as a time limit does: its state's value still counts.
    How many in a row may fail so, `EpisodeFailures` says; then `EnvironmentFailed`.
    """

    def __init__(
        self,
        env_id: str,
        rng: np.random.Generator,
        limit: int | None = None,
    ) -> None:
        """`limit` as in `Environment`.

        Raises `ValueError` as `check_environment` does.
        """
        self.environment = Environment(env_id, rng, limit)
        self.failures = EpisodeFailures()
        self.finished: list[Episode] = []
        """Episodes that ended by themselves, until somebody takes them."""

    @property
    def observation(self) -> Array | None:
        """[O] the running episode's newest observation, None between episodes."""
        return self.environment.observation

    def reset(self) -> Array:
        """Begin an episode: its first observation, [O]. Raises `EnvironmentFailed`."""
        while True:
            try:
                return self.environment.reset()
            except Exception as error:
                self._dropped(error)

    def step(self, action: Array) -> StepResult:
        """Take `action` [A] in [-1, 1]. Raises `EnvironmentFailed`, `RuntimeError` if not reset."""
        environment, observation = self.environment, self.environment.observation
        if observation is None:
            raise RuntimeError(f"{environment.env_id}: step called between episodes")
        if not np.isfinite(action).all():
            raise FloatingPointError(f"{environment.env_id}: the policy's action is {action}")
        try:
            result = environment.step(action)
        except Exception as error:
            self._dropped(error)
            return StepResult(observation, 0.0, terminated=False, truncated=True)
        if result.ended:
            self.finished.append(
                Episode(environment.episode_return, environment.episode_length, result.cut)
            )
        self.failures.sound_step(result.ended, environment.episode_length)
        return result

    def take_finished(self) -> list[Episode]:
        """The finished episodes, which are forgotten here."""
        finished, self.finished = self.finished, []
        return finished

    def _dropped(self, error: Exception) -> None:
        self.environment.abandon_episode()
        self.failures.raised(self.environment.env_id, error, "cut")

    def close(self) -> None:
        """Free the environment."""
        self.environment.close()

    def state_dict(self) -> dict[str, Any]:
        """The environment, its running episode included, and the count of failures."""
        return {
            "environment": self.environment.state_dict(),
            **self.failures.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore; an episode that cannot be replayed exactly is dropped, with a warning."""
        self.failures.load_state_dict(state)
        try:
            self.environment.load_state_dict(state["environment"])
        except EpisodeNotReproducible as error:
            logger.warning("the episode in progress is dropped: %s", error)
