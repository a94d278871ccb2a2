"""What the project costs, section by section: `make bench`.

    python -m benchmarks.bench --only updates server --repetitions 20

updates     milliseconds of each update: project, plain PyTorch, GEMM limit, in turns, one thread
precision   cosine of float32 and mixed precision to the float64 meta-gradient
server      agents' gradients that the objective server applies in a second
bare        agent-steps of processes that do nothing else, and of plain PyTorch as it comes
population  agents on Ray: seconds until ready, memory, agent-steps in turns with bare processes
tracking    rounds of a population with Weights & Biases (offline) against none; 4 minutes
gpu         agent-steps of 20 agents at the paper's sizes, computed together on a GPU
jax         the same step in JAX, with the Python of another environment (`--jax-python`)

Exit code 1 where a section failed, 2 for bad input.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import tyro

from benchmarks.bare import BareOptions, measure_bare
from benchmarks.gpu import gpu_in_own_process, gpu_options
from benchmarks.jax_rate import measure_jax
from benchmarks.machine import contamination, this_machine
from benchmarks.measure import SizeResult, measure
from benchmarks.picture import draw
from benchmarks.population import PopulationOptions, in_own_process
from benchmarks.precision import nearness
from benchmarks.problem import SizeName, preset_problem
from benchmarks.report import as_json, as_text
from benchmarks.server_rate import server_rates
from benchmarks.timing import Clock
from benchmarks.tracking import tracking_cost
from metagenrl.base.checks import require
from metagenrl.base.process import available_cores, settle
from metagenrl.commands.parsing import parse
from metagenrl.runs.config.yaml import build

ENOUGH_REPETITIONS = 10
SectionName = Literal[
    "updates", "precision", "server", "bare", "population", "tracking", "gpu", "jax"
]
SECTIONS: tuple[SectionName, ...] = get_args(SectionName)


@dataclass(frozen=True)
class BenchConfig:
    """What to measure and where to write it."""

    only: tuple[SectionName, ...] = SECTIONS
    """Sections to measure; the file keeps what it has of the others."""
    sizes: tuple[SizeName, ...] = ("paper", "small")
    """Presets whose sizes are measured."""
    repetitions: int = 20
    """Samples of each timing."""
    clock: Clock = "wall"
    """Of `updates`: `cpu` counts the thread's own time, for a machine that is not quiet."""
    seconds: float = 20.0
    """Time that rounds are counted for, by sections other than `population`."""
    out: Path = Path("results/benchmarks.json")
    """File for the complete results; a picture goes beside it."""
    jax_python: Path | None = None
    """Python of an environment that has JAX, for the comparison with it."""

    def __post_init__(self) -> None:
        require(len(self.only) > 0, "only", self.only, ", ".join(SECTIONS))
        require(len(self.sizes) > 0, "sizes", self.sizes, "paper, small")
        distinct = len(set(self.sizes)) == len(self.sizes)
        require(distinct, "sizes", self.sizes, "each size once")
        require(self.repetitions >= 1, "repetitions", self.repetitions, "an integer >= 1")
        require(self.seconds > 0, "seconds", self.seconds, "a number > 0")
        require(not self.out.is_dir(), "out", str(self.out), "a file, not a folder")


def run(config: BenchConfig) -> list[str]:
    """Measure, print and write section by section; the sections that failed.

    Raises `OSError` before measuring where it cannot write.
    """
    config.out.parent.mkdir(parents=True, exist_ok=True)
    with config.out.open("a+") as file:  # fails now rather than after an hour
        file.seek(0)
        values = json.loads(file.read() or "{}")
    settle()
    failed = []
    for name in config.only:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        try:
            found = section(name, config)
        except Exception as error:  # one that cannot run here must not cost the others
            print(f"error: {name}: {error}", file=sys.stderr)
            failed.append(name)
            continue
        values |= found.values
        config.out.write_text(json.dumps(values, indent=1) + "\n")
        print(found.text, end="\n\n", flush=True)
    if "sizes" in values:
        draw(values, config.out.with_suffix(".png"))
    print(f"written to {config.out}")
    return failed


@dataclass(frozen=True)
class Found:
    """A section's part of the file, and as text."""

    values: dict[str, Any]
    text: str


def section(name: SectionName, config: BenchConfig) -> Found:
    """Measure one section."""
    if name == "updates":
        return _updates(config)
    rows: list[Any]
    if name == "precision":
        rows = [nearness(preset_problem("paper"))]
    elif name == "server":
        rows = list(server_rates())
    elif name == "population":
        rows = [in_own_process(options) for options in _populations(config)]
    elif name == "tracking":
        rows = [tracking_cost(config.seconds)]
    elif name == "bare":
        rows = [
            measure_bare(BareOptions(size, config.seconds, plain=plain), processes)
            for size in config.sizes
            for plain, processes in ((False, available_cores()), (False, 1), (True, 1))
        ]
    elif name == "gpu":
        if not torch.cuda.is_available():
            return Found({}, "gpu: not measured, no GPU that CUDA can use")
        rows = [gpu_in_own_process(options) for options in gpu_options(config.seconds)]
    else:
        if config.jax_python is None:
            return Found({}, "jax: not measured, no --jax-python")
        rows = [measure_jax(config.jax_python, config.repetitions)]
    load = round(os.getloadavg()[0], 2)
    table = "\n".join("  " + _line(row) for row in rows)
    return Found(
        {name: {"load_after": load, "rows": [asdict(row) for row in rows]}},
        f"{name} (load average {load} at its end):\n{table}",
    )


def _line(row: Any) -> str:
    return ", ".join(f"{name} {_shown(value)}" for name, value in vars(row).items())


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return f"{min(value):.4g} to {max(value):.4g}" if value else "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _populations(config: BenchConfig) -> list[PopulationOptions]:
    """20 agents at every size, and 40 for start-up and memory, one an actor and in cohorts."""
    kinds: tuple[int | Literal["auto"], ...] = ("auto", 1)
    return [
        *(
            PopulationOptions(20, k, size, config.repetitions)
            for size in config.sizes
            for k in kinds
        ),
        *(PopulationOptions(40, k, "paper", pairs=0) for k in kinds),
    ]


def _updates(config: BenchConfig) -> Found:
    machine, date = this_machine(), datetime.now(UTC).isoformat(timespec="seconds")
    results: list[SizeResult] = [
        measure(preset_problem(name), config.repetitions, config.clock) for name in config.sizes
    ]
    notes = contamination(machine, min(result.core_share for result in results))
    if config.repetitions < ENOUGH_REPETITIONS:
        notes.append(f"{config.repetitions} repetitions are too few to report")
    if config.clock == "cpu":
        notes.append("milliseconds of the thread's own time, not by the clock")
    settings = {
        "date": date, "repetitions": config.repetitions, "threads": 1, "dtype": "float32",
        "clock": config.clock,
    }  # fmt: skip
    return Found(as_json(machine, results, settings, notes), as_text(machine, results, notes))


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out the command line; the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if "-h" in words or "--help" in words:
        tyro.cli(BenchConfig, args=["--help"], prog="python -m benchmarks.bench")
    try:
        failed = run(build(BenchConfig, parse(BenchConfig, words)))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
