"""The release of this program, and whether a file was written by a later one."""

from __future__ import annotations

import re
from importlib.metadata import version

RELEASE = version("metagenrl")


def is_newer(release: str, than: str = RELEASE) -> bool:
    """Whether `release` ("0.3.0", "1.0rc1") comes after `than` by its leading numbers."""
    return _numbers(release) > _numbers(than)


def _numbers(release: str) -> tuple[int, ...]:
    matches = (re.match(r"[0-9]+", part) for part in release.split("."))
    found = [int(match[0]) for match in matches if match]
    while found and found[-1] == 0:  # 0.2 is 0.2.0
        found.pop()
    return tuple(found)
