"""Agents in bare processes, one a core and nothing between them: what a population could do.

    python -m benchmarks.bare --size small --seconds 10

prints one JSON line. Without `--alone` it starts a process for each core and adds them up.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

import tyro
from metagenrl.cluster.config import available_cores
from metagenrl.learner.process import settle

from benchmarks.problem import SizeName, preset_problem
from benchmarks.rounds import project_rounds, reference_rounds

WARM_UP_ROUNDS = 2


@dataclass(frozen=True)
class BareOptions:
    """One measurement."""

    size: SizeName = "paper"
    """Preset whose sizes are taken."""
    seconds: float = 10.0
    """Time that rounds are counted for."""
    alone: bool = False
    """Only this process."""
    plain: bool = False
    """Plain PyTorch as it comes, in a process whose memory is not settled."""


@dataclass(frozen=True)
class BareResult:
    """Agent-steps of all processes together."""

    size: str
    processes: int
    steps_per_s: float
    steps_per_cpu_s: float


def measure_alone(options: BareOptions) -> BareResult:
    """One agent in this process; begins to count at a line on standard input."""
    problem = preset_problem(options.size)
    if options.plain:
        import torch

        torch.set_num_threads(1)
        play = reference_rounds(problem)
    else:
        settle()
        play = project_rounds(problem)
    for _ in range(WARM_UP_ROUNDS):
        play()
    print("ready", flush=True)
    sys.stdin.readline()
    rounds, begin, cpu = 0, time.monotonic(), time.process_time()
    while time.monotonic() - begin < options.seconds:
        play()
        rounds += 1
    steps = rounds * problem.agent.policy_delay
    wall, busy = time.monotonic() - begin, time.process_time() - cpu
    return BareResult(options.size, 1, steps / wall, steps / busy)


def measure_bare(options: BareOptions, processes: int) -> BareResult:
    """So many processes at the same time, counting from when all are ready."""
    argv = [sys.executable, "-m", "benchmarks.bare", "--alone", "--size", options.size]
    argv += ["--seconds", str(options.seconds), *(["--plain"] if options.plain else [])]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(argv, **pipes) for _ in range(processes)]  # type: ignore[call-overload]
    for process in running:
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError(f"{' '.join(argv[2:])} did not come up")
    for process in running:
        process.stdin.write("go\n")
        process.stdin.flush()
    results = [json.loads(process.communicate()[0].splitlines()[-1]) for process in running]
    return BareResult(
        options.size, processes, sum(r["steps_per_s"] for r in results),
        sum(r["steps_per_cpu_s"] for r in results) / processes,
    )  # fmt: skip


def main() -> None:
    """Carry out the command line."""
    options = tyro.cli(BareOptions)
    result = measure_alone(options) if options.alone else measure_bare(options, available_cores())
    print(json.dumps(asdict(result)), flush=True)


if __name__ == "__main__":
    main()
