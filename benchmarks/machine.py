"""Where a measurement was taken: processor, versions, and whether other work was running."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from metagenrl.base.process import available_cores
from metagenrl.learner.native import library

_PACKAGES = ("metagenrl", "torch", "numpy", "gymnasium", "mujoco")
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Machine:
    """What a reader needs to know to compare numbers."""

    cpu: str
    cores: int  # that this process may use
    governor: str | None  # None: the machine does not say
    system: str
    versions: dict[str, str]
    kernels: str  # see `library.backend`
    load_before: float  # over the last minute, before anything was measured


def this_machine() -> Machine:
    """To be called before the measurement."""
    return Machine(
        cpu=_cpu(),
        cores=available_cores(),
        governor=_GOVERNOR.read_text().strip() if _GOVERNOR.exists() else None,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        versions={"python": platform.python_version()} | {p: version(p) for p in _PACKAGES},
        kernels=library.backend(),
        load_before=os.getloadavg()[0],
    )


def _cpu() -> str:
    """The processor's own name, with family and model where the name says little."""
    if not _CPUINFO.exists():
        return platform.processor() or "unknown"
    lines = (line.partition(":") for line in _CPUINFO.read_text().splitlines())
    fields: dict[str, str] = {}
    for key, _, value in lines:
        fields.setdefault(key.strip(), value.strip())
    name = fields.get("model name", "unknown")
    return f"{name} (family {fields.get('cpu family', '?')}, model {fields.get('model', '?')})"


def contamination(machine: Machine, core_share: float) -> list[str]:
    """Why these numbers may be worse than the machine's; empty where nothing speaks for it."""
    notes = []
    if machine.load_before > 0.5:
        notes.append(
            f"the load average was {machine.load_before:.2f} before the start: other work was "
            "running, the results are contaminated"
        )
    if core_share < 0.97:
        notes.append(
            f"the measuring thread had its core for {core_share:.0%} of the time: "
            "the results are contaminated"
        )
    return notes
