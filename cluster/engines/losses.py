"""Why an actor was lost, in one line; that it was killed for memory most of all."""

from __future__ import annotations

import re
from pathlib import Path

from ray.exceptions import OutOfMemoryError, RayActorError, RayError

from metagenrl.base.memory import memory_here
from metagenrl.cluster.engines.ray_cluster import first_line
from metagenrl.runs.machine.needs import gib

REMEDY = "fewer agents, --agents-per-actor auto or a smaller --replay-capacity need less"
_BY_RAY = re.compile(r"was ([0-9.]+GB) used / ([0-9.]+GB) limit")


class Losses:
    """Tells the reasons of losses; knows how many processes the kernel has killed for memory."""

    def __init__(self) -> None:
        self._told = _killed_by_kernel()

    def reason(self, error: RayError) -> str:
        """Why an actor is gone: Ray's words, or that it was killed for memory."""
        text = str(error)
        found = _BY_RAY.search(text)
        if isinstance(error, OutOfMemoryError) or found is not None:
            used = f"{found[1]} of {found[2]} in use" if found else "its node was full"
            return f"killed for memory ({used}; Ray's memory monitor): {REMEDY}"
        # One process for each actor: what the kernel has killed is told once.
        if isinstance(error, RayActorError) and self._told < _killed_by_kernel():
            self._told += 1
            total = gib(memory_here().total)
            return f"killed for memory (the kernel; this machine has {total}): {REMEDY}"
        return first_line(error)


def _killed_by_kernel() -> int:
    """Processes of this machine that were killed for memory since it was started."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
