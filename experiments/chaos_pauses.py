"""Processes that chaos stops (SIGSTOP), and that go on after some seconds."""

from __future__ import annotations

import contextlib
import os
import signal
import time


class Pauses:
    """Which processes stand still, and until when."""

    def __init__(self) -> None:
        self._until: dict[int, float] = {}

    def stop(self, pid: int, seconds: float) -> bool:
        """Stop a process for so long; False where it is gone or stands still already."""
        if pid in self._until:
            return False
        try:
            os.kill(pid, signal.SIGSTOP)
        except ProcessLookupError:
            return False
        self._until[pid] = time.monotonic() + seconds
        return True

    def attend(self) -> None:
        """Let those go on whose time is over."""
        now = time.monotonic()
        for pid in [pid for pid, until in self._until.items() if until <= now]:
            self._go_on(pid)

    def end(self) -> None:
        """Let all go on."""
        for pid in list(self._until):
            self._go_on(pid)

    def _go_on(self, pid: int) -> None:
        del self._until[pid]
        with contextlib.suppress(ProcessLookupError):  # it was killed meanwhile, as one that hangs
            os.kill(pid, signal.SIGCONT)
