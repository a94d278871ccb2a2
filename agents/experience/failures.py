"""How often in a row an environment may raise before its agent is given up."""

from __future__ import annotations

import logging

from metagenrl.base.checks import brief

MAX_ENVIRONMENT_RETRIES = 3
"""Episodes in a row that may raise in an environment of which none has ended yet."""
PROVEN_RETRIES = 10
"""The same once one has ended: the environment works, and raises now and then."""
SOUND_STEPS = 1_000
"""Steps of one episode after which earlier failures count no more, where episodes have no end."""

logger = logging.getLogger(__name__)


class EnvironmentFailed(RuntimeError):  # noqa: N818 - reads as the event it is
    """An environment raised in several episodes in a row; the cause is chained."""


class EpisodeFailures:
    """Episodes in a row in which an environment raised."""

    def __init__(self) -> None:
        self.count = 0
        self._proven = False  # whether an episode has ended by itself

    def raised(self, env_id: str, error: Exception, fate: str) -> None:
        """Count an episode that `error` ended, whose `fate` is logged.

        Raises `EnvironmentFailed` where that was one too many.
        """
        self.count += 1
        if self.count > (PROVEN_RETRIES if self._proven else MAX_ENVIRONMENT_RETRIES):
            raise EnvironmentFailed(
                f"{env_id}: raised in {self.count} episodes in a row: {brief(error, 400)}"
            ) from error
        logger.warning("%s raised, its episode is %s: %s", env_id, fate, brief(error, 400))

    def sound_step(self, ended: bool, length: int) -> None:
        """A step did not raise: whether it `ended` its episode, after `length` steps."""
        self._proven |= ended
        if ended or length >= SOUND_STEPS:
            self.count = 0

    def state_dict(self) -> dict[str, int | bool]:
        """Both, under the names that checkpoints have them by."""
        return {"failures": self.count, "proven": self._proven}

    def load_state_dict(self, state: dict[str, int | bool]) -> None:
        """Restore what `state_dict` gave."""
        self.count = int(state["failures"])
        self._proven = bool(state.get("proven", False))  # not there in older checkpoints
