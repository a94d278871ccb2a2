"""The release of this program, and whether a file was written by a later one."""

from __future__ import annotations

import re
import subprocess
from importlib.metadata import version
from pathlib import Path

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


def commit() -> str:
    """The commit of the checkout that the program runs from, "" where it is installed elsewhere."""
    here = Path(__file__).resolve()
    tracked = _git(here.parent, "ls-files", "--error-unmatch", here.name)  # not a .venv's copy
    return _git(here.parent, "rev-parse", "--short=12", "HEAD") if tracked else ""


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""
