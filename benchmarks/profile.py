"""Where the time of an agent-step's updates goes: `python -m benchmarks.profile --size paper`.

CPU milliseconds an agent-step, so that other work on the machine counts little.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
import tyro

from benchmarks.measure import Turns
from benchmarks.precision import with_precision
from benchmarks.problem import Problem, SizeName, preset_problem
from benchmarks.project import ProjectAgent
from metagenrl.base.process import settle
from metagenrl.learner.hyperparams import Precision
from metagenrl.learner.native import library

_PRODUCTS = ("aten::bmm", "aten::mm", "aten::addmm", "aten::baddbmm")


@dataclass(frozen=True)
class ProfileOptions:
    """What to look at."""

    size: SizeName = "paper"
    """Preset whose sizes are taken."""
    precision: Precision = "fp32"
    """As `--precision` of `metagenrl train`."""
    settled: bool = True
    """False: memory as the process gets it, without `metagenrl/base/process.py`."""
    rounds: int = 10
    """Rounds (two agent-steps each) that are averaged."""


def profile(problem: Problem, rounds: int) -> dict[str, float]:
    """Milliseconds of matrix products, of each C kernel, and of the rest; `total` is measured."""
    agent, turns = ProjectAgent(problem), Turns(problem)
    delay = problem.agent.policy_delay
    steps = rounds * delay

    def play(count: int) -> None:
        for _ in range(count):
            agent.learn(turns.take(delay + 2))

    play(3)
    begin = time.process_time()
    play(rounds)
    total = (time.process_time() - begin) * 1e3 / steps
    own = _kernel_times(lambda: play(rounds), steps)
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities) as profiler:
        play(rounds)
    events = [e for e in profiler.key_averages() if e.key.rstrip("_") in _PRODUCTS]
    products = sum(event.self_cpu_time_total for event in events) / 1e3 / steps
    parts = {"matrix products": products, **own}
    return {"total": total, **parts, "the rest": total - sum(parts.values())}


def _kernel_times(play: Any, steps: int) -> dict[str, float]:
    """CPU time inside each C kernel while `play` runs."""
    spent: Counter[str] = Counter()
    original = library.call

    def timed(name: str, *arguments: Any) -> None:
        begin = time.process_time()
        original(name, *arguments)
        spent[name] += time.process_time() - begin

    library.call = timed
    try:
        play()
    finally:
        library.call = original
    return {name: seconds * 1e3 / steps for name, seconds in spent.most_common()}


def main() -> None:
    """Carry out the command line."""
    options = tyro.cli(ProfileOptions)
    if options.settled:
        settle()
    torch.set_num_threads(1)
    problem = with_precision(preset_problem(options.size), options.precision)
    for name, milliseconds in profile(problem, options.rounds).items():
        print(f"{name:24}{milliseconds:9.2f} ms")


if __name__ == "__main__":
    main()
