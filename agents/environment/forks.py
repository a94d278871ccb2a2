"""Copies of this process that an environment makes by `os.fork` and lets return into our code.

Such a copy would train on in the same folder. It is ended where it comes back from the environment.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import time
from collections.abc import Iterator

WAIT = 0.5
"""Seconds in which a copy comes back from the call that made it."""
_forks = 0  # by this process


def _count() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_parent=_count)


class _Mark:
    """A byte that a process and its copies share: whether a copy has come back."""

    def __init__(self) -> None:
        self.owner, self._byte = os.getpid(), mmap.mmap(-1, 1)

    def set(self) -> None:
        self._byte[0] = 1

    def take(self) -> bool:
        """Whether it was set; it is not any more."""
        found = self._byte[0] == 1
        self._byte[0] = 0
        return found


_mark: _Mark | None = None


@contextlib.contextmanager
def copies_ended() -> Iterator[None]:
    """End every copy of this process, made meanwhile, that comes to the end of the block."""
    global _mark
    owner = os.getpid()
    if _mark is None or _mark.owner != owner:
        _mark = _Mark()
    mark = _mark
    try:
        yield
    finally:
        if os.getpid() != owner:
            mark.set()
            os._exit(0)


def copy_came_back(forks_before: int) -> bool:
    """Whether a copy did since there were `forks_before` of them; waits where one may be about to.

    A copy that never returns (`multiprocessing` makes such) is none.
    """
    if _forks == forks_before or _mark is None:
        return False
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        if _mark.take():
            return True
        time.sleep(0.01)
    return False


def forks() -> int:
    """How often this process has forked."""
    return _forks
