"""Keeps what an environment does to its process away from the run that shares the process.

Environments are other people's code: some change the working directory, make numpy raise on
underflow, take over signals or re-encode standard output, when they are imported or at any step.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from metagenrl.agents.environment.forks import copies_ended

_LOG = logging.getLogger(__name__)
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_said: set[tuple[str, str]] = set()  # (environment, what it changed), each once a process


@contextlib.contextmanager
def guarded(env_id: str, step: bool = False) -> Iterator[None]:
    """Undo what is done meanwhile to the process, and log it once for each environment.

    `step`: look only at what changes the run's own numbers and files, which costs microseconds.
    """
    saved = [(what, keep()) for what, keep in (_KEPT[:_AT_STEPS] if step else _KEPT)]
    try:
        with copies_ended():
            yield
    finally:
        for what, restore in saved:
            if restore() and (env_id, what) not in _said:
                _said.add((env_id, what))
                _LOG.warning("%s changed the process's %s, which is undone", env_id, what)


def foreign_threads(before: set[int | None]) -> list[str]:
    """Names of threads begun since that would keep this process from ending."""
    main = threading.main_thread()
    every = [t for t in threading.enumerate() if t is not main and not t.daemon]
    return [thread.name for thread in every if thread.ident not in before]


def _directory() -> Callable[[], bool]:
    try:
        before = os.getcwd()
    except OSError:  # it is gone: there is nothing to go back to
        return lambda: False

    def restore() -> bool:
        with contextlib.suppress(OSError):
            if os.getcwd() == before:
                return False
        with contextlib.suppress(OSError):
            os.chdir(before)
        return True

    return restore


def _float_errors() -> Callable[[], bool]:
    before = np.geterr()

    def restore() -> bool:
        if np.geterr() == before:
            return False
        np.seterr(**before)
        return True

    return restore


def _handlers() -> Callable[[], bool]:
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def restore() -> bool:
        changed = [n for n in _SIGNALS if signal.getsignal(n) is not before[n]]
        if not changed or threading.current_thread() is not threading.main_thread():
            return False
        for number in changed:
            if before[number] is not None:  # None: a handler that is not Python's
                signal.signal(number, before[number])
        return True

    return restore


def _blocked() -> Callable[[], bool]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())

    def restore() -> bool:
        return signal.pthread_sigmask(signal.SIG_SETMASK, before) != before

    return restore


_OUTPUTS = (1, 2)
_FREE = 10
"""The first number of our copies: environments close or replace those below."""
_copies: dict[int, tuple[int, os.stat_result]] = {}  # of the outputs: number, and what it leads to


def _descriptors() -> Callable[[], bool]:
    """What C code and other processes write to; closed, it would go to the next file opened."""
    for number in _OUTPUTS:
        with contextlib.suppress(OSError):  # it was closed before
            found, kept = os.fstat(number), _copies.get(number)
            if kept is not None and _leads_to(kept[0], kept[1]):
                if os.path.samestat(found, kept[1]):
                    continue
                os.close(kept[0])
            _copies[number] = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _FREE), found
    # A list: all are put back, not only the first.
    return lambda: bool([_put_back(n) for n, kept in _copies.items() if not _leads_to(n, kept[1])])


def _closed_descriptors() -> Callable[[], bool]:
    """As `_descriptors`, of what is closed alone: that can be seen within a microsecond."""
    return lambda: bool([_put_back(number) for number in _copies if not _is_open(number)])


def _is_open(number: int) -> bool:
    try:
        return fcntl.fcntl(number, fcntl.F_GETFD) >= 0
    except OSError:
        return False


def _leads_to(number: int, place: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.fstat(number), place)
    except OSError:
        return False


def _put_back(number: int) -> bool:
    with contextlib.suppress(OSError):  # our copy was closed, too
        os.dup2(_copies[number][0], number)
    return True


def _streams() -> Callable[[], bool]:
    before = [sys.stdout, sys.stderr]
    settings = [_encoding(stream) for stream in before]

    def restore() -> bool:
        changed = [sys.stdout, sys.stderr] != before
        for index, stream in enumerate(before):
            if getattr(stream, "closed", False):  # nobody can open the same one again
                changed, before[index] = True, open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        sys.stdout, sys.stderr = before
        for stream, setting in zip(before, settings, strict=True):
            if isinstance(stream, io.TextIOWrapper) and _encoding(stream) != setting:
                stream.reconfigure(encoding=setting[0], errors=setting[1])
                changed = True
        return changed

    return restore


def _encoding(stream: Any) -> tuple[str | None, str | None]:
    return getattr(stream, "encoding", None), getattr(stream, "errors", None)


def _warnings() -> Callable[[], bool]:
    before, show = list(warnings.filters), warnings.showwarning

    def restore() -> bool:
        changed = warnings.filters != before or warnings.showwarning is not show
        if changed:
            warnings.filters[:] = before  # type: ignore[index]
            warnings._filters_mutated()  # type: ignore[attr-defined]
            warnings.showwarning = show
        return changed

    return restore


_KEPT: tuple[tuple[str, Callable[[], Callable[[], bool]]], ...] = (
    ("working directory", _directory),
    ("numpy error state", _float_errors),
    ("standard output", _closed_descriptors),
    ("signal handlers", _handlers),
    ("blocked signals", _blocked),
    ("standard output", _descriptors),
    ("standard output", _streams),
    ("warning filters", _warnings),
)
_AT_STEPS = 3
"""How many of these are kept at every step; the others when it is made, reset and closed."""
