"""A tracker's process, which nothing waits for; what it has to say becomes lines of the log."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from metagenrl.base.job_process import start_process

CLOSE_SECONDS = 90.0
"""Seconds that the end of a run waits for all trackers; one that hangs is then ended."""
SAYS = "metagenrl: "
"""Begins a line of a tracker's log that is for the user."""

logger = logging.getLogger(__name__)


class TrackerProcess:
    """One tracker; that it cannot be started, or died, is one line."""

    def __init__(
        self,
        name: str,
        module: str,
        job: str,
        log: Path,
        say: Callable[[str], None] = logger.warning,
    ) -> None:
        """Start `module` with its job; `name` is what it is called in the lines to `say`."""
        self._name, self._log_file, self._say = name, log, say
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        try:
            log.parent.mkdir(exist_ok=True)
            log.unlink(missing_ok=True)  # a killed run's tracker may still write to its own
            self._process = start_process(module, job, log)
            self._log = open(log, "rb")  # noqa: SIM115 - read until the run ends
        except OSError as error:
            say(f"{name}: not started ({error.strerror})")

    def poll(self) -> None:
        """Pass on what it said, and that it ended where it should not have."""
        if self._process is None:
            return
        code = self._process.poll()  # before the log: its last words are then in it
        self._pass_on()
        if code == -signal.SIGTERM:  # by what ends the run with all its processes, `ray job stop`
            self._say(f"{self._name}: ended by SIGTERM; a run that goes on sends what is missing")
        elif code:
            self._say(f"{self._name}: ended with exit code {code}, see {self._log_file}")
        if code is not None:
            self._forget()

    def release(self) -> None:
        """Close its standard input: it finishes and ends."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def wait(self, deadline: float) -> None:
        """Let it end until `deadline`, on the monotonic clock; then end it."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._say(f"{self._name}: did not end in time and was ended")
            os.killpg(self._process.pid, signal.SIGKILL)  # with the helpers that it started
            self._process.wait()
            self._pass_on()
            self._forget()
        self.poll()

    def _forget(self) -> None:
        self._process = None
        if self._log is not None:
            self._log.close()
            self._log = None

    def _pass_on(self) -> None:
        for line in self._log or ():
            text = line.decode(errors="replace").rstrip()
            if text.startswith(SAYS):
                self._say(text.removeprefix(SAYS))
