"""How a command ends when it is told to: by SIGTERM, SIGHUP or Ctrl-C (SIGINT).

The first signal lets the command finish what it is at (`Ending.finishing`), or where there is
nothing to finish, raises `EndedBySignal`. A second one ends the process and all that it started
at once, also while Ray is shut down on the process's way out (`commands.shell.program`). The same
one within `SAME_REQUEST` is no second one. A signal that is ignored when the command starts stays
ignored, as `nohup` wants it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

import psutil

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
SIGNAL_EXIT = 128
"""Exit code of a command that a signal ended, less the signal's number: 143, 129, 130."""
SAME_REQUEST = 1.0
"""Seconds within which a signal that comes twice is one request: `timeout` sends its signal to the
command and then to its process group, and whoever runs a command for another hands Ctrl-C on."""
exit_at_once = os._exit
"""For us; what others call is another, see `refuse_exits`."""
_SHOW_CURSOR = "\x1b[?25h"  # a live table hides it


class EndedBySignal(KeyboardInterrupt):
    """The command was told to end where it had nothing to finish."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class Ending:
    """Whether a command was told to end, and by which signal."""

    def __init__(self, hint: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        """`hint` is the command to go on with; a process that ends at once prints it."""
        self.hint = hint
        self.signum: int | None = None
        self._clock, self._told_at = clock, 0.0
        self._promise = ""  # what is finished first; empty: nothing is
        self._listening: list[signal.Signals] = []

    @property
    def requested(self) -> bool:
        """Whether the command was told to end."""
        return self.signum is not None

    @property
    def code(self) -> int:
        """The exit code: 128 and the signal's number; 0 where there was no signal."""
        return 0 if self.signum is None else SIGNAL_EXIT + self.signum

    @property
    def name(self) -> str:
        """The signal's name, empty where there was none."""
        return "" if self.signum is None else signal.Signals(self.signum).name

    def raise_if_requested(self) -> None:
        """Raise `EndedBySignal` where a signal came while something was being finished."""
        if self.signum is not None:
            raise EndedBySignal(self.signum)

    @contextlib.contextmanager
    def listening(self) -> Iterator[Ending]:
        """Catch the signals; only a process's main thread can, elsewhere nothing is caught."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before: dict[signal.Signals, Any] = {s: signal.getsignal(s) for s in SIGNALS}
        self._listening = [s for s in SIGNALS if before[s] is not signal.SIG_IGN]
        self.listen_again()
        try:
            yield self
        finally:
            for caught in self._listening:
                signal.signal(caught, before[caught] or signal.SIG_DFL)

    def listen_again(self) -> None:
        """Catch the signals again after a library, as Ray does, has put its own handlers there."""
        for caught in self._listening:
            signal.signal(caught, self._told)

    @contextlib.contextmanager
    def finishing(self, promise: str) -> Iterator[None]:
        """While this lasts, the first signal is only noted; `promise` says what comes first."""
        before, self._promise = self._promise, promise
        try:
            yield
        finally:
            self._promise = before

    def _told(self, signum: int, frame: FrameType | None) -> None:
        now = self._clock()
        if self.signum is not None:
            if signum == self.signum and now - self._told_at < SAME_REQUEST:
                return
            self.at_once(f"{signal.Signals(signum).name} again: ended at once", self.code)
        self.signum, self._told_at = signum, now
        if not self._promise:
            raise EndedBySignal(signum)
        say(f"{self.name}: {self._promise} (again: at once)")

    def at_once(self, line: str, code: int) -> NoReturn:
        """End this process and all that it started; nothing more is written."""
        say(line + (f", go on with: {self.hint}" if self.hint else ""))
        end_descendants()
        exit_at_once(code)


def refuse_exits() -> None:
    """From here on whoever calls `os._exit` in this process, an environment, is told of.

    The process ends all the same, and not with 0, which would say that its work is done.
    """
    process = os.getpid()

    def ended(status: int) -> NoReturn:
        if os.getpid() != process:  # a copy of it, as `multiprocessing` makes
            exit_at_once(status)
        say(f"error: ended by os._exit({status}), which something in this process called")
        exit_at_once(status or 1)

    os._exit = ended


def say(line: str) -> None:
    """A line on the standard error, also from within a signal's handler or a live table."""
    show_cursor = _SHOW_CURSOR if os.isatty(2) else ""
    with contextlib.suppress(OSError):  # its terminal may be what has gone
        os.write(2, f"{show_cursor}{line}\n".encode(errors="replace"))


_MARK = "METAGENRL_COMMAND"
"""In the environment of every process that a command starts, and of those that these start."""
_marked: tuple[int, str] = (0, "")
"""The process that is a command, and its mark."""


def mark_what_is_started() -> None:
    """In a process that is one command: what it starts is known as its own from now on.

    A simulator whose own parent, a shell (`simulator &`), has ended is nobody's child any more.
    """
    global _marked
    _marked = os.getpid(), f"{os.getpid()}-{time.time_ns()}"
    os.environ[_MARK] = _marked[1]


def _started() -> list[psutil.Process]:
    """The processes that this one has started, that those have started, and so on."""
    found: list[psutil.Process] = psutil.Process().children(recursive=True)
    pid, mark = _marked
    if pid != os.getpid():
        return found
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # ended, or another user's
            if process not in found and process.environ().get(_MARK) == mark:
                found.append(process)
    return found


def end_what_is_left() -> None:
    """Tell the processes that an environment has started and left to end (SIGTERM).

    Not more than told: Python's own helper for shared memory tidies up after this process.
    """
    with contextlib.suppress(psutil.Error):
        for process in _started():
            with contextlib.suppress(psutil.Error):
                process.terminate()


def end_descendants() -> None:
    """Kill the processes that this one started, and those that they started.

    All are halted first: one that is still alive could start another, which nobody would find.
    """
    for act in (psutil.Process.suspend, psutil.Process.suspend, psutil.Process.kill):
        with contextlib.suppress(psutil.Error):
            for process in _started():
                with contextlib.suppress(psutil.Error):
                    act(process)
