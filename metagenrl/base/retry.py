"""Trying again what fails for a while: a full disk, a store that cannot be reached."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 1_800.0  # seconds: time for somebody to make room
PAUSE = 1.0  # seconds between tries

Result = TypeVar("Result")


def patiently(
    call: Callable[[], Result],
    tell: Callable[[str], None],
    patience: float = PATIENCE,
    pause: float = PAUSE,
    give_up: Callable[[], bool] = lambda: False,
) -> Result:
    """The result of `call`, once it no longer raises `OSError`.

    `tell` is called with one line at the first failure. After `patience` seconds of failures the
    error is raised: waiting for ever would look like a hang. So it is once `give_up` says so.
    """
    deadline: float | None = None
    while True:
        try:
            return call()
        except OSError as error:
            if deadline is None:
                deadline = time.monotonic() + patience
                tell(f"{_reason(error)}; trying again for {patience / 60:.0f} minutes")
            if time.monotonic() > deadline or give_up():
                raise
        time.sleep(pause)


def _reason(error: OSError) -> str:
    """The system's words; an error that came from another process has them in its last line."""
    reason = error.strerror or str(error).strip().splitlines()[-1]
    return reason[:1].lower() + reason[1:]
