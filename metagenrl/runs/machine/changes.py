"""What differs between where a run began and where it goes on, and what that does to its bits."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path


def processor() -> str:
    """The processor's model, which decides what code runs and how it rounds."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """One line on what is different, None where nothing is that was recorded.

    Keys are names of packages, `python`, `processor` and `cores`.
    """
    other = [name for name in now if before.get(name, now[name]) != now[name]]
    if not other:
        return None
    named = ", ".join(f"{name} {now[name]} (was {before[name]})" for name in other)
    if other == ["cores"]:
        what = "the pace changes, what a synchronous run computes does not"
    else:
        what = (
            "bits may differ from a run that was never interrupted, because libraries and "
            "processors round sums differently"
        )
    return f"goes on with {named}: {what}"
