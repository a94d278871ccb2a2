"""Keeps what an environment does to its process away from the run that shares the process.

Environments are other people's code: some change the working directory, make numpy raise on
underflow, take over signals or re-encode standard output, when they are imported or at any step.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import contextlib
import io
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from metagenrl.agents.environment.forks import copies_ended
from metagenrl.agents.environment.refusal import kind_and_words
from metagenrl.base import outputs
from metagenrl.base.process import making_an_environment

_LOG = logging.getLogger(__name__)
_OURS = logging.getLogger("metagenrl")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class EnvironmentExit(RuntimeError):  # noqa: N818 - reads as the event it is
    """An environment called `sys.exit` or raised what is no `Exception`, as a panic in Rust is."""


_said: set[tuple[str, str]] = set()  # (environment, what it changed), each once a process


@contextlib.contextmanager
def guarded(env_id: str, step: bool = False) -> Iterator[None]:
    """Undo what is done meanwhile to the process, and log it once for each environment.

    `step`: look only at what changes the run's own numbers and files, which costs microseconds.
    """
    saved = [(what, keep()) for what, keep in (_KEPT[:_AT_STEPS] if step else _KEPT)]
    try:
        with copies_ended(), contextlib.nullcontext() if step else making_an_environment():
            yield
    finally:
        for what, restore in saved:
            if restore() and (env_id, what) not in _said:
                _said.add((env_id, what))
                _LOG.warning("%s changed the process's %s, which is undone", env_id, what)


@contextlib.contextmanager
def as_exceptions() -> Iterator[None]:
    """Turn what would end the run, Ctrl-C apart, into `EnvironmentExit`."""
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except SystemExit as error:
        raise EnvironmentExit(f"called sys.exit({error.code!r})") from error
    except BaseException as error:
        raise EnvironmentExit(f"raised {kind_and_words(error)}") from error


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise `TimeoutError` within it after so many seconds.

    Only in a process's main thread, and where Python gets to look: not within a call of C code.
    """
    handler = _signal.getsignal(signal.SIGALRM)
    if threading.current_thread() is not threading.main_thread() or handler is None:
        yield
        return

    def over(signum: int, frame: Any) -> None:
        raise TimeoutError(f"it had not ended after {seconds:g} s")

    begun = time.monotonic()
    signal.signal(signal.SIGALRM, over)
    rest, interval = signal.setitimer(signal.ITIMER_REAL, seconds)  # another's, which goes on
    try:
        yield
    finally:
        left = max(rest - (time.monotonic() - begun), 0.001) if rest else 0.0
        signal.setitimer(signal.ITIMER_REAL, left, interval)
        signal.signal(signal.SIGALRM, handler)


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


_umask_now = 0o022  # as last seen; asking is setting, and must not open files to others


def _umask() -> Callable[[], bool]:
    """The permissions that new files do not get, the run's own among them."""
    global _umask_now
    before = os.umask(_umask_now)
    if before != _umask_now:
        os.umask(before)
        _umask_now = before
    return lambda: os.umask(before) != before


def _float_errors() -> Callable[[], bool]:
    before = np.geterr()

    def restore() -> bool:
        if np.geterr() == before:
            return False
        np.seterr(**before)
        return True

    return restore


def _torch_defaults() -> Callable[[], bool]:
    """What tensors are where nothing else is said: their type, a graph or none, their device."""
    before = _torch_now()

    def restore() -> bool:
        if _torch_now() == before:
            return False
        torch = sys.modules["torch"]
        torch.set_default_dtype(before[0] or torch.float32)
        torch.set_grad_enabled(before[1])
        torch.set_default_device(before[2])
        return True

    return restore


def _torch_now() -> tuple[Any, bool, Any]:
    torch = sys.modules.get("torch")
    if torch is None:
        return None, True, None
    dtype = torch.get_default_dtype()
    # torch.get_default_device() makes a tensor to find out, which takes ten microseconds. This
    # module is not there until a default is set.
    device = getattr(sys.modules.get("torch.utils._device"), "CURRENT_DEVICE", None)
    return None if dtype == torch.float32 else dtype, torch.is_grad_enabled(), device


def _handlers() -> Callable[[], bool]:
    # Not `signal.getsignal`, which looks names up and takes forty times as long.
    before = [_signal.getsignal(number) for number in _SIGNALS]

    def restore() -> bool:
        now = zip(_SIGNALS, before, strict=True)
        changed = [(number, old) for number, old in now if _signal.getsignal(number) is not old]
        if not changed or threading.current_thread() is not threading.main_thread():
            return False
        for number, old in changed:
            if old is not None:  # None: a handler that is not Python's
                signal.signal(number, old)
        return True

    return restore


def _blocked() -> Callable[[], bool]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())

    def restore() -> bool:
        return signal.pthread_sigmask(signal.SIG_SETMASK, before) != before

    return restore


def _same_streams() -> Callable[[], bool]:
    """Which objects the streams are, which can be seen at once; `_streams` looks into them."""
    before = sys.stdout, sys.stderr

    def restore() -> bool:
        if sys.stdout is before[0] and sys.stderr is before[1]:
            return False
        sys.stdout, sys.stderr = before
        return True

    return restore


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


def _logging() -> Callable[[], bool]:
    """What the run's own log needs; `logging.config` silences every logger that is there."""
    manager = logging.root.manager
    disable = manager.disable
    before = [(log, log.level, list(log.handlers)) for log in (logging.root, _OURS)]

    def restore() -> bool:
        silenced = [
            log for name, log in manager.loggerDict.items()
            if name.startswith(_OURS.name) and getattr(log, "disabled", False)
        ]  # fmt: skip
        changed = bool(silenced) or manager.disable != disable
        manager.disable = disable
        for log in silenced:
            log.disabled = False  # type: ignore[union-attr]
        for log, level, handlers in before:
            for handler in handlers:
                if handler not in log.handlers:
                    log.addHandler(handler)
                    changed = True
            if log.level != level:
                log.setLevel(level)
                changed = True
        return changed

    return restore


_KEPT: tuple[tuple[str, Callable[[], Callable[[], bool]]], ...] = (
    ("working directory", _directory),
    ("numpy error state", _float_errors),
    ("torch defaults", _torch_defaults),
    ("standard output", outputs.closed),
    ("umask", _umask),
    ("signal handlers", _handlers),
    ("standard output", _same_streams),
    ("warning filters", _warnings),
    ("blocked signals", _blocked),
    ("standard output", outputs.replaced),
    ("standard output", _streams),
    ("logging", _logging),
)
_AT_STEPS = 8
"""How many of these are kept at every step; the others when it is made, reset and closed."""
