"""The report of a chaos run: JSON for programs, Markdown for people."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

from chaos_audit import Check

from metagenrl.runs.machine.changes import processor


@dataclass(frozen=True)
class Report:
    """What was done and what held."""

    seed: int
    seconds: float
    events: dict[str, int]  # by kind
    wanted: int  # least number of them
    resumed: int  # times that the driver was started again
    facts: dict[str, int]
    checks: list[Check]

    @property
    def count(self) -> int:
        """Of all kinds."""
        return sum(self.events.values())

    @property
    def passed(self) -> bool:
        """All promises were kept, under enough events."""
        return self.count >= self.wanted and all(check.kept for check in self.checks)


def write_report(out: Path, report: Report) -> str:
    """Write OUT.json and OUT.md; the latter's text."""
    machine = {"processor": processor(), "cores": os.cpu_count(), "platform": platform.platform()}
    body = asdict(report) | {"passed": report.passed, "machine": machine}
    text = _markdown(report)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(body, indent=2) + "\n")
    out.with_suffix(".md").write_text(text)
    return text


def _markdown(report: Report) -> str:
    verdict = "nothing lost" if report.passed else "FAILED"
    kinds = ", ".join(f"{count} x {name}" for name, count in report.events.items())
    lines = [
        f"# Chaos: {report.count} events, {verdict}",
        "",
        f"{kinds}; driver resumed {report.resumed} times; seed {report.seed}, "
        f"{report.seconds:.0f} s, {os.cpu_count()} cores, {processor()}.",
        "",
        "| promise | kept | found |",
        "|---|---|---|",
        *(f"| {c.promise} | {'yes' if c.kept else '**no**'} | {c.found} |" for c in report.checks),
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in report.facts.items()),
    ]
    return "\n".join(lines) + "\n"
