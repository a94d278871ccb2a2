"""How long environments may take: defaults of options, in one place."""

EPISODE_LIMIT = 1_000
"""Steps of an evaluation episode in an environment without a limit; Gymnasium's MuJoCo has it."""

ANSWER_TIMEOUT = 60.0
"""Seconds that a step or a reset may take in an environment worker."""

START_TIMEOUT = 600.0
"""Seconds that making an environment and its first reset may take."""
CLOSE_TIMEOUT = 60.0
"""Seconds after which an environment's close() is not waited for any more."""
