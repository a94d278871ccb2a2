"""File descriptors of our own, out of the way of environments that close or replace low ones."""

from __future__ import annotations

import fcntl

_FAR = 100
_BEYOND_STANDARD = 3


def far_copy(number: int) -> int:
    """Another descriptor of what `number` leads to, which programs that are started do not get.

    Daemons and environments close or replace the numbers that they know of, which are low. Raises
    `OSError` where `number` is closed or nothing is free.
    """
    try:
        return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _FAR)
    except (OSError, ValueError):  # this process may not have as many
        return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _BEYOND_STANDARD)
