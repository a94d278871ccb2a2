"""What a process asks of its operating system: cores, memory, who ends with whom."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator

from metagenrl.base.checks import UsageError

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PDEATHSIG, _CHILD_SUBREAPER = 1, 36  # <sys/prctl.h>
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # <malloc.h>
_LARGEST_MMAP_THRESHOLD = 32 << 20  # what glibc allows on 64 bits
KEPT_BYTES = 256 << 20
"""Freed memory that a process keeps: more than an update's temporaries at the paper's sizes."""


TRIAL = "METAGENRL_TRIAL"
"""The variable of processes in which an environment is tried, and of what they start."""


class _Imports(threading.local):
    under_way = 0  # environments that this thread is making


_imports = _Imports()


@contextlib.contextmanager
def making_an_environment() -> Iterator[None]:
    """While its module is imported, and it is made, no run begins in this thread."""
    _imports.under_way += 1
    try:
        yield
    finally:
        _imports.under_way -= 1


def refuse_within_a_trial(what: str) -> None:
    """Raise `UsageError` where an environment's module starts a run while it is imported.

    That run would try the environment, which imports the module, which starts a run. So would the
    processes of its agents, where the module goes on after the refusal in the trial's.
    """
    if TRIAL in os.environ or _imports.under_way:
        raise UsageError(
            f"{what}: called while a run imports this module for an environment, allowed: calls "
            'under `if __name__ == "__main__":`'
        )


def settle() -> None:
    """One thread, and memory that is used again instead of being given back; repeatable.

    By default glibc maps every array of a few megabytes afresh and unmaps it when it is freed, and
    touching new pages then costs more than the arithmetic: a quarter of an update at the paper's
    sizes, and half on busy machines. Huge pages, which torch asks for if told so before its first
    large array, spare most of the rest. Elsewhere than on glibc only the number of threads is set.
    """
    import torch  # most processes that import this module need none

    torch.set_num_threads(1)
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    mallopt = getattr(_LIBC, "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)


def available_cores() -> int:
    """Cores that this process may use, which a container can make fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def end_with_parent() -> None:
    """Be told to end (SIGTERM) when the thread that started this process ends; Linux only."""
    if _LIBC is not None:
        _LIBC.prctl(_PDEATHSIG, signal.SIGTERM)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends; Linux only."""
    if _LIBC is not None:
        _LIBC.prctl(_CHILD_SUBREAPER, 1)
