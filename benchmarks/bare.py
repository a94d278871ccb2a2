"""Agents in bare processes, one a core and nothing between them: what a population could do.

    python -m benchmarks.bare --size small --seconds 10

prints one JSON line. Without `--alone` it starts a process for each core and adds them up.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

import tyro

from benchmarks.problem import SizeName, preset_problem
from benchmarks.rounds import project_rounds, reference_rounds
from metagenrl.base.process import available_cores, settle

WARM_UP_ROUNDS = 2


@dataclass(frozen=True)
class BareOptions:
    """One measurement."""

    size: SizeName = "paper"
    """Preset whose sizes are taken."""
    seconds: float = 10.0
    """Time that rounds are counted for."""
    alone: bool = False
    """Only this process: it measures once for each line on standard input, so many seconds."""
    plain: bool = False
    """Plain PyTorch as it comes, in a process whose memory is not settled."""


@dataclass(frozen=True)
class BareResult:
    """Agent-steps of all processes together."""

    size: str
    processes: int
    steps_per_s: float
    steps_per_cpu_s: float


def serve(options: BareOptions) -> None:
    """One agent in this process: a line of seconds in, a `BareResult` in JSON out."""
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
    for line in sys.stdin:
        rounds, begin, cpu = 0, time.monotonic(), time.process_time()
        while time.monotonic() - begin < float(line):
            play()
            rounds += 1
        steps = rounds * problem.agent.policy_delay
        wall, busy = time.monotonic() - begin, time.process_time() - cpu
        result = BareResult(options.size, 1, steps / wall, steps / busy)
        print(json.dumps(asdict(result)), flush=True)


class BareProcesses:
    """So many processes that wait until they are asked to measure at the same time."""

    def __init__(self, options: BareOptions, processes: int) -> None:
        """Raises `RuntimeError` where one does not come up."""
        self._size = options.size
        argv = [sys.executable, "-m", "benchmarks.bare", "--alone", "--size", options.size]
        argv += ["--plain"] if options.plain else []
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._running = [subprocess.Popen(argv, **pipes) for _ in range(processes)]  # type: ignore[call-overload]
        if any(process.stdout.readline().strip() != "ready" for process in self._running):
            self.close()
            raise RuntimeError(f"{' '.join(argv[2:])} did not come up")

    @property
    def pids(self) -> set[int]:
        """Their process ids."""
        return {process.pid for process in self._running}

    def measure(self, seconds: float) -> BareResult:
        """Agent-steps of all of them in so many seconds."""
        for process in self._running:
            process.stdin.write(f"{seconds}\n")
            process.stdin.flush()
        results = [json.loads(process.stdout.readline()) for process in self._running]
        return BareResult(
            self._size, len(results), sum(r["steps_per_s"] for r in results),
            sum(r["steps_per_cpu_s"] for r in results) / len(results),
        )  # fmt: skip

    def close(self) -> None:
        """End them."""
        for process in self._running:
            process.communicate()  # closes its input, which ends it


def measure_bare(options: BareOptions, processes: int) -> BareResult:
    """So many processes at the same time, once."""
    with contextlib.closing(BareProcesses(options, processes)) as bare:
        return bare.measure(options.seconds)


def main() -> None:
    """Carry out the command line."""
    options = tyro.cli(BareOptions)
    if options.alone:
        serve(options)
    else:
        print(json.dumps(asdict(measure_bare(options, available_cores()))), flush=True)


if __name__ == "__main__":
    main()
