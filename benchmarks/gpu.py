"""Agents computed together on one GPU: agent-steps a second, environments and replay included.

    python -m benchmarks.gpu --precision mixed
    python -m benchmarks.gpu --device cpu --size small --agents 3 --seconds 5   # that it runs

prints one JSON line.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace

import torch
import tyro

from benchmarks.problem import SizeName, preset_problem
from metagenrl.agents.backend.choice import Computing
from metagenrl.agents.cohort import Cohort
from metagenrl.agents.reports import MemberConfig
from metagenrl.base.process import available_cores, settle
from metagenrl.learner.hyperparams import Device, Precision
from metagenrl.learner.objective.net import initial_alpha

TARGET_STEPS_PER_S = 6_700
"""20 agents take 600 K steps each in half an hour."""
WARM_UP_ROUNDS = 5


@dataclass(frozen=True)
class GpuOptions:
    """One measurement."""

    device: Device = "cuda"
    """Where the agents learn."""
    agents: int = 20
    """Agents of the cohort."""
    size: SizeName = "paper"
    """Preset whose sizes are taken."""
    precision: Precision = "mixed"
    """As `--precision`."""
    env_workers: int = max(1, available_cores() - 1)
    """As `--env-workers`."""
    seconds: float = 20.0
    """Time that rounds are counted for."""


@dataclass(frozen=True)
class GpuResult:
    """Agent-steps of one cohort."""

    device: str  # its name
    agents: int
    size: str
    precision: str
    env_workers: int
    ready_s: float  # until the first updates are done
    memory_gb: float  # of the GPU, at most
    rounds: int
    steps_per_s: float
    share_of_target: float  # of `TARGET_STEPS_PER_S`, which is for 20 agents at the paper's sizes


def measure_gpu(options: GpuOptions) -> GpuResult:
    """Let a cohort learn, and count. Raises `ValueError` where there is no such device."""
    settle()
    problem = preset_problem(options.size)
    starts = 2 * problem.agent.batch_size
    agent = replace(
        problem.agent, learning_starts=starts, random_steps=starts, precision=options.precision
    )
    computing = Computing("reference", options.device, options.env_workers)
    cohort, agents = Cohort(computing), range(options.agents)
    begin = time.monotonic()
    for index in agents:
        cohort.add(
            MemberConfig(
                "benchmark", 0, index, problem.env_id, 0, agent, problem.meta, problem.objective
            ), 0, None,
        )  # fmt: skip
    alpha = initial_alpha(problem.objective, torch.Generator().manual_seed(0)).numpy()
    try:
        while cohort.round(agents, alpha, 0, 0, {}).gradient is None:
            pass
        ready = time.monotonic() - begin
        for _ in range(WARM_UP_ROUNDS):
            cohort.round(agents, alpha, 0, 0, {})
        rounds, begin = 0, time.monotonic()
        while time.monotonic() - begin < options.seconds:
            report = cohort.round(agents, alpha, 0, 0, {})
            if report.failures:
                raise RuntimeError(f"agents failed: {report.failures}")
            rounds += 1
        rate = rounds * agent.policy_delay * options.agents / (time.monotonic() - begin)
    finally:
        for index in agents:
            cohort.remove(index)
    on_gpu = options.device == "cuda"
    return GpuResult(
        torch.cuda.get_device_name() if on_gpu else "cpu", options.agents, options.size,
        options.precision, options.env_workers, ready,
        torch.cuda.max_memory_allocated() / 1e9 if on_gpu else 0.0,
        rounds, rate, rate / TARGET_STEPS_PER_S,
    )  # fmt: skip


def gpu_options(seconds: float) -> list[GpuOptions]:
    """Both precisions."""
    precisions: tuple[Precision, ...] = ("fp32", "mixed")
    return [GpuOptions(precision=precision, seconds=seconds) for precision in precisions]


def gpu_in_own_process(options: GpuOptions) -> GpuResult:
    """`measure_gpu` in a fresh process. Raises `RuntimeError` where that fails."""
    argv = [sys.executable, "-m", "benchmarks.gpu"]
    for name, value in asdict(options).items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            argv += [f"--{flag}" if value else f"--no-{flag}"]
        else:
            argv += [f"--{flag}", str(value)]
    run = subprocess.run(argv, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"{' '.join(argv[2:])}: {run.stderr.strip()[-500:]}")
    return GpuResult(**json.loads(run.stdout.splitlines()[-1]))


def main() -> None:
    """Carry out the command line."""
    try:
        print(json.dumps(asdict(measure_gpu(tyro.cli(GpuOptions)))))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
