"""Milliseconds per update and agent-steps per second: project, plain PyTorch, GEMM limit.

    python -m benchmarks.bench --sizes paper small --repetitions 20

Everything is measured in turns in one run, on one thread. Exit code 2 for bad input.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import tyro
from metagenrl.cluster.command_line import parse
from metagenrl.cluster.config_io import build
from metagenrl.learner.hyperparams import require
from metagenrl.learner.process import settle

from benchmarks.machine import contamination, this_machine
from benchmarks.measure import SizeResult, measure
from benchmarks.problem import SizeName, preset_problem
from benchmarks.report import as_json, as_text

ENOUGH_REPETITIONS = 10


@dataclass(frozen=True)
class BenchConfig:
    """What to measure and where to write it."""

    sizes: tuple[SizeName, ...] = ("paper", "small")
    """Presets whose sizes are measured."""
    repetitions: int = 20
    """Samples of each timing."""
    out: Path = Path("results/benchmarks.json")
    """File for the complete results; an older one is replaced."""

    def __post_init__(self) -> None:
        require(len(self.sizes) > 0, "sizes", self.sizes, "paper, small")
        distinct = len(set(self.sizes)) == len(self.sizes)
        require(distinct, "sizes", self.sizes, "each size once")
        require(self.repetitions >= 1, "repetitions", self.repetitions, "an integer >= 1")
        require(not self.out.is_dir(), "out", str(self.out), "a file, not a folder")


def run(config: BenchConfig) -> None:
    """Measure, print and write; raises `OSError` before measuring where it cannot write."""
    config.out.parent.mkdir(parents=True, exist_ok=True)
    machine, date = this_machine(), datetime.now(UTC).isoformat(timespec="seconds")
    settle()
    results: list[SizeResult] = []
    for name in config.sizes:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        results.append(measure(preset_problem(name), config.repetitions))
    notes = contamination(machine, min(result.core_share for result in results))
    if config.repetitions < ENOUGH_REPETITIONS:
        notes.append(f"{config.repetitions} repetitions are too few to report")
    settings = {"date": date, "repetitions": config.repetitions, "threads": 1, "dtype": "float32"}
    values = as_json(machine, results, settings, notes)
    config.out.write_text(json.dumps(values, indent=1) + "\n")
    print(as_text(machine, results, notes))
    print(f"\nwritten to {config.out}")


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out the command line; the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if "-h" in words or "--help" in words:
        tyro.cli(BenchConfig, args=["--help"], prog="python -m benchmarks.bench")
    try:
        run(build(BenchConfig, parse(BenchConfig, words)))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
