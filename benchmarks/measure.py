"""One size: every update of project and reference and every GEMM, in turns, in one run."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from benchmarks.agreement import carry_over, float64, relative_differences
from benchmarks.flops import Work, flops
from benchmarks.gemm import Gemm, gemms
from benchmarks.precision import with_precision
from benchmarks.problem import Problem, synthetic_batch
from benchmarks.project import ProjectAgent
from benchmarks.reference import PlainAgent
from benchmarks.rounds import project_rounds, reference_rounds
from benchmarks.timing import Clock, Timing, interleave
from metagenrl.learner.hyperparams import NATIVE_UNITS
from metagenrl.learner.types import Batch

BATCHES = 4
"""Synthetic minibatches that the updates go through in turn."""


@dataclass(frozen=True)
class Row:
    """A task's timings; for agent-steps they and `flops` are a step's."""

    name: str
    flops: float
    project: Timing
    reference: Timing
    is_step: bool
    mixed: Timing | None = None  # the project in mixed precision, where networks are wide


@dataclass(frozen=True)
class Task:
    """One thing that project and reference both do; a call does `steps` agent-steps."""

    name: str
    flops: int  # of a call
    project: Callable[[], object]
    reference: Callable[[], object]
    steps: int | None = None  # None: a single update
    mixed: Callable[[], object] | None = None

    def row(self, project: Timing, reference: Timing, mixed: Timing | None = None) -> Row:
        """The timings of a call as those of one update or agent-step."""
        steps = self.steps or 1
        return Row(
            self.name, self.flops / steps, project.per(steps), reference.per(steps),
            self.steps is not None, None if mixed is None else mixed.per(steps),
        )  # fmt: skip


@dataclass(frozen=True)
class SizeResult:
    """Everything measured at one size."""

    problem: Problem
    rows: list[Row]
    gflops: dict[str, float]  # per GEMM, the best of all repetitions, 1e9 operations a second
    differences: dict[str, float]  # between project and reference, in float64
    core_share: float  # CPU time over elapsed time: less than 1 where the core was shared


class Turns:
    """The synthetic minibatches, `count` at a time, round and round."""

    def __init__(self, problem: Problem) -> None:
        generator = torch.Generator().manual_seed(2)
        batches = [synthetic_batch(problem, generator) for _ in range(BATCHES)]
        self._next = itertools.cycle(batches)

    def take(self, count: int) -> list[Batch]:
        """The next `count` minibatches."""
        return list(itertools.islice(self._next, count))


def tasks(problem: Problem) -> list[Task]:
    """What is measured; each task has agents of its own, all from the same parameters."""
    work, delay, turns = Work(problem), problem.agent.policy_delay, Turns(problem)
    wide = problem.agent.hidden_units > NATIVE_UNITS

    def agents() -> tuple[ProjectAgent, PlainAgent]:
        project, plain = ProjectAgent(problem), PlainAgent(problem)
        carry_over(project, plain)
        return project, plain

    def task(
        name: str, products: int, method: str, project: int, plain: int, steps: int | None = None
    ) -> Task:
        """`project` and `plain`: minibatches that the method takes of each."""
        one, other = (getattr(agent, method) for agent in agents())
        in_a_row = method == "learn"
        call = (lambda f, b: f(b)) if in_a_row else (lambda f, b: f(*b))
        fast = getattr(ProjectAgent(with_precision(problem, "mixed")), method) if wide else None
        return Task(
            name, products, lambda: call(one, turns.take(project)),
            lambda: call(other, turns.take(plain)), steps,
            (lambda: call(fast, turns.take(project))) if wide else None,
        )  # fmt: skip

    learn = flops(work.learn())
    return [
        task("critic update", flops(work.critic_update()), "update_critic", 1, 1),
        task("policy update + targets", flops(work.policy_update()), "update_policy", 1, 1),
        task("objective gradient", flops(work.objective_gradient()), "objective_gradient", 2, 2),
        task(
            "policy + objective", flops(work.policy_and_objective()),
            "update_policy_and_objective", 2, 3,
        ),
        task("agent-step, updates alone", learn, "learn", delay + 2, delay + 3, delay),
        Task(
            f"agent-step in {problem.env_id}", learn,
            project_rounds(problem), reference_rounds(problem), delay,
            project_rounds(with_precision(problem, "mixed")) if wide else None,
        ),
    ]  # fmt: skip


def measure(problem: Problem, repetitions: int, clock: Clock = "wall") -> SizeResult:
    """Measure everything at one size; one thread is the caller's business."""
    with float64():
        differences = relative_differences(problem)
    products: list[Gemm] = gemms(problem)
    contestants: dict[str, Callable[[], object]] = {gemm.name: gemm.call for gemm in products}
    todo = tasks(problem)
    for task in todo:
        contestants[f"{task.name}/project"] = task.project
        contestants[f"{task.name}/reference"] = task.reference
        if task.mixed is not None:
            contestants[f"{task.name}/mixed"] = task.mixed
    begin, cpu = time.perf_counter(), time.process_time()
    timings = interleave(contestants, repetitions, clock=clock)
    share = (time.process_time() - cpu) / (time.perf_counter() - begin)
    rows = [
        task.row(
            timings[f"{task.name}/project"],
            timings[f"{task.name}/reference"],
            timings.get(f"{task.name}/mixed"),
        )
        for task in todo
    ]
    gflops = {gemm.name: gemm.flops / timings[gemm.name].minimum / 1e6 for gemm in products}
    return SizeResult(problem, rows, gflops, differences, share)
