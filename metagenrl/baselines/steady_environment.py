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
from metagenrl.agents.experience.rollout import (
    MAX_ENVIRONMENT_RETRIES,
    PROVEN_RETRIES,
    SOUND_STEPS,
    EnvironmentFailed,
    Episode,
)

logger = logging.getLogger(__name__)


class SteadyEnvironment:
    """An `Environment` that keeps count of its failures and of its finished episodes.

    A step that raises ends its episode as a time limit does: its state's value still counts.
    `PROVEN_RETRIES` episodes in a row may fail so (see there); then `EnvironmentFailed`.
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
        self.failures, self._proven = 0, False
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
            self._proven = True
            self.finished.append(
                Episode(environment.episode_return, environment.episode_length, result.cut)
            )
        if result.ended or environment.episode_length >= SOUND_STEPS:
            self.failures = 0
        return result

    def take_finished(self) -> list[Episode]:
        """The finished episodes, which are forgotten here."""
        finished, self.finished = self.finished, []
        return finished

    def _dropped(self, error: Exception) -> None:
        env_id = self.environment.env_id
        self.failures += 1
        self.environment.abandon_episode()
        if self.failures > (PROVEN_RETRIES if self._proven else MAX_ENVIRONMENT_RETRIES):
            raise EnvironmentFailed(
                f"{env_id}: raised in {self.failures} episodes in a row: {error!r}"
            ) from error
        logger.warning("%s raised, its episode is cut: %r", env_id, error)

    def close(self) -> None:
        """Free the environment."""
        self.environment.close()

    def state_dict(self) -> dict[str, Any]:
        """The environment, its running episode included, and the count of failures."""
        return {
            "environment": self.environment.state_dict(),
            "failures": self.failures,
            "proven": self._proven,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore; an episode that cannot be replayed exactly is dropped, with a warning."""
        self.failures = int(state["failures"])
        self._proven = bool(state.get("proven", False))  # not there in older checkpoints
        try:
            self.environment.load_state_dict(state["environment"])
        except EpisodeNotReproducible as error:
            logger.warning("the episode in progress is dropped: %s", error)
