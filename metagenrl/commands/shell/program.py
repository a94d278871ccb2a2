"""The process that is one command: its signals where no `Ending` listens, and how it goes out."""

from __future__ import annotations

import atexit
import contextlib
import math
import signal
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

from metagenrl.base.ending import (
    SAME_REQUEST,
    SIGNAL_EXIT,
    SIGNALS,
    end_descendants,
    end_what_is_left,
    exit_at_once,
    mark_what_is_started,
    refuse_exits,
    say,
)
from metagenrl.base.process import adopt_orphans

LAST_WAIT = 60.0
"""Seconds that a command which is over waits for threads and exit handlers that are not its own."""


def _cut(code: int) -> NoReturn:
    """End the process a minute from now, and say what has kept it."""
    time.sleep(LAST_WAIT)
    main = threading.main_thread()
    threads = ", ".join(t.name for t in threading.enumerate() if t is not main and not t.daemon)
    kept = f"threads ({threads})" if threads else "what runs at its exit"
    say(f"the command is over, {kept} kept its process for {LAST_WAIT:g} s: ended")
    end_descendants()
    exit_at_once(code)


class Program:
    """The signals of a process that is one command, also where no `Ending` listens.

    Before an `Ending` and after it SIGTERM and SIGHUP end the process and all that it started, with
    the exit code of a signal; Ctrl-C raises `KeyboardInterrupt`, once where it comes twice within
    `SAME_REQUEST`.
    """

    def __init__(self) -> None:
        """To be made before anything else registers what it does at the process's exit."""
        mark_what_is_started()
        refuse_exits()
        self._code: int | None = None
        self._interrupted_at = -math.inf
        atexit.register(self._last)  # first here is last there: after Ray's shutdown
        self._end_at(signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._interrupted)

    def leave(self, code: int) -> None:
        """A signal has ended the command; another ends the process at once, without a word.

        `code` is the process's exit code, whatever comes. What Ray's shutdown has left without a
        parent becomes a child of this process, so that it is found.
        """
        self._code = code
        self._end_at(*SIGNALS)
        sys.stdout.flush()
        adopt_orphans()

    def over(self, code: int) -> None:
        """The command is over: threads and exit handlers, an environment's say, have a minute left.

        `code` is the process's exit code, whatever comes.
        """
        with contextlib.suppress(RuntimeError):  # no thread is to be had: nothing bounds them
            threading.Thread(target=_cut, args=(code,), daemon=True).start()

    def _end_at(self, *signals: signal.Signals) -> None:
        for caught in signals:
            if signal.getsignal(caught) is not signal.SIG_IGN:
                signal.signal(caught, self._ended)

    def _interrupted(self, signum: int, frame: FrameType | None) -> None:
        before, self._interrupted_at = self._interrupted_at, time.monotonic()
        if self._interrupted_at - before >= SAME_REQUEST:
            raise KeyboardInterrupt

    def _ended(self, signum: int, frame: FrameType | None) -> NoReturn:
        end_descendants()
        exit_at_once(SIGNAL_EXIT + signum if self._code is None else self._code)

    def _last(self) -> None:
        """An interpreter that ends runs no handler: from here on signals act as the system has it.

        That is another exit code, so a process that a signal ended goes here.
        """
        end_what_is_left()
        if self._code is not None:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):  # closed, or its reader has gone
                    stream.flush()
            exit_at_once(self._code)
        signal.setitimer(signal.ITIMER_REAL, 0)  # an environment's, which nobody would hear
        for caught in SIGNALS:
            if signal.getsignal(caught) is not signal.SIG_IGN:
                signal.signal(caught, signal.SIG_DFL)
