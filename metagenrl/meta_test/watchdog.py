"""Gives up work that no longer moves, such as an environment's step that never returns."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

LOOKS = 10
"""Times that a watchdog looks within its limit."""


class _Work(threading.Thread):
    """The work, with the number of its signs of life and what it raised."""

    def __init__(self, work: Callable[[Callable[[], None]], None], seconds: float) -> None:
        super().__init__(daemon=True)
        self._work, self._seconds, self.signs = work, seconds, 0
        self.error: BaseException | None = None
        self._waited = 0.0  # seconds, for a CPU

    def run(self) -> None:
        try:
            self._work(self._sign)
        except BaseException as error:  # raised again by who watches
            self.error = error

    def _sign(self) -> None:
        if not self.signs:  # begun; who watches may not get Python's lock to say so any more
            _end_after(self._seconds)
        self.signs += 1

    def clock(self) -> float:
        """Seconds that go by while it computes or sleeps, but not while it is kept waiting."""
        try:  # https://docs.kernel.org/scheduler/sched-stats.html: the second number
            stat = Path(f"/proc/{os.getpid()}/task/{self.native_id}/schedstat").read_text()
            self._waited = int(stat.split()[1]) / 1e9
        except (OSError, ValueError, IndexError):  # not on this system, or it has just ended
            pass
        return time.monotonic() - self._waited


def watched(
    work: Callable[[Callable[[], None]], None], seconds: float, start_seconds: float
) -> None:
    """Carry out `work`, which calls its argument as a sign of life, in a thread.

    Raises what it raises, and `TimeoutError` after `seconds` without such a sign, or
    `start_seconds` without the first; the thread is then left to the end of the process. Time in
    which it waits for a CPU does not count, so that who is only starved is not taken for dead.
    Where C code hangs that keeps Python's lock, so that nothing can be raised, the process is ended
    after twice the time.
    """
    thread = _Work(work, seconds)
    thread.start()
    signs, since = 0, thread.clock()
    try:
        while thread.is_alive():
            limit = seconds if signs else start_seconds
            _end_after(limit)
            thread.join(min(1.0, limit / LOOKS, seconds / LOOKS))
            if thread.signs != signs:
                signs, since = thread.signs, thread.clock()
            elif thread.clock() - since > limit:
                what = "no step for" if signs else "not begun after"
                raise TimeoutError(f"hangs in {_place(thread)}: {what} {limit:g} s")
    finally:
        faulthandler.cancel_dump_traceback_later()
    if thread.error is not None:
        raise thread.error


def _end_after(seconds: float) -> None:
    """End the process after twice the time, unless this is called again before."""
    faulthandler.dump_traceback_later(2 * seconds, exit=True)


def _place(thread: threading.Thread) -> str:
    frame = sys._current_frames().get(thread.ident or 0)
    if frame is None:
        return "its process"
    code = frame.f_code
    return f"{code.co_name} ({Path(code.co_filename).name}:{frame.f_lineno})"
