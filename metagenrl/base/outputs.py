"""The descriptors of standard output and error, which environments close or lead elsewhere."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable

from metagenrl.base.descriptors import far_copy

_OUTPUTS = (1, 2)
_copies: dict[int, tuple[int, os.stat_result]] = {}  # of the outputs: number, and what it leads to


def replaced() -> Callable[[], bool]:
    """What C code and other processes write to; closed, it would go to the next file opened."""
    for number in _OUTPUTS:
        with contextlib.suppress(OSError):  # it was closed before
            found, kept = os.fstat(number), _copies.get(number)
            if kept is not None and leads_to(kept[0], kept[1]):
                if os.path.samestat(found, kept[1]):
                    continue
                os.close(kept[0])
            _copies[number] = far_copy(number), found
    # A list: all are put back, not only the first.
    return lambda: bool([_put_back(n) for n, kept in _copies.items() if not leads_to(n, kept[1])])


def closed() -> Callable[[], bool]:
    """As `replaced`, of what is closed alone: that can be seen within a microsecond."""
    return lambda: bool([_put_back(number) for number in _copies if not _is_open(number)])


def _is_open(number: int) -> bool:
    try:
        return fcntl.fcntl(number, fcntl.F_GETFD) >= 0
    except OSError:
        return False


def leads_to(number: int, place: os.stat_result) -> bool:
    """Whether the descriptor is open, and on this file."""
    try:
        return os.path.samestat(os.fstat(number), place)
    except OSError:
        return False


def _put_back(number: int) -> bool:
    with contextlib.suppress(OSError):  # our copy was closed, too
        os.dup2(_copies[number][0], number)
    return True
