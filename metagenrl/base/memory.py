"""Memory that this machine or container has: the smaller of what it holds and what it may use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

_GROUPS = Path("/sys/fs/cgroup")
_LIMITS = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
_CACHE = ("inactive_file", "total_inactive_file")  # of memory.stat: given back when needed


@dataclass(frozen=True)
class Memory:
    """Bytes."""

    total: int
    available: int  # without taking anything from processes that run


def memory_here() -> Memory:
    """Of this process's machine; a control group's limit counts where it is lower."""
    machine = psutil.virtual_memory()
    found = Memory(int(machine.total), int(machine.available))
    for folder in _groups():
        limit = _limit(folder)
        if limit is not None and limit.total < found.total:
            found = Memory(limit.total, min(limit.available, found.available))
    return found


def _groups() -> Iterator[Path]:
    """The folders of this process's control groups and of those above them (version 2, then 1)."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root = _GROUPS / controllers if controllers else _GROUPS
        own = root / path.lstrip("/")
        yield from (folder for folder in (own, *own.parents) if root in (folder, *folder.parents))


def _limit(folder: Path) -> Memory | None:
    """A group's limit and what is left of it; None where there is no limit."""
    for limit_file, usage_file in _LIMITS:
        try:
            limit = int((folder / limit_file).read_text())
            used = int((folder / usage_file).read_text())
        except (OSError, ValueError):  # ValueError: "max"
            continue
        return Memory(limit, max(0, limit - used + _reclaimable(folder)))
    return None


def _reclaimable(folder: Path) -> int:
    try:
        lines = (folder / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    values = dict(line.split() for line in lines)
    return next((int(values[name]) for name in _CACHE if name in values), 0)
