"""Which agents share an actor, or a turn in this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from metagenrl.agents.backend.choice import Computing
from metagenrl.agents.environment.remote import Timeouts
from metagenrl.agents.reports import CohortReport
from metagenrl.cluster.engines.interface import Averaged, Completed, Lost, Result
from metagenrl.runs.config.train import TrainConfig


@dataclass(frozen=True)
class Share:
    """The part of a machine that Ray reserves for an actor."""

    cpus: float
    gpus: float = 0.0  # a part of one
    fixed: bool = False  # the CPUs also for agents that join later


Plan = tuple[tuple[int, ...], ...]

COHORTS_STAY = (
    "agents: a population with --agents-per-actor other than 1 keeps its size, allowed: scale one "
    "with an actor for each agent"
)
"""Why cohorts are not scaled: who works with whom is settled when a run begins."""


def cohort_plan(
    seating: Sequence[int], agents_per_actor: int | Literal["auto"], places: float
) -> Plan:
    """The agents of each cohort, ascending; a cohort's agents share one environment.

    `seating`: each agent's environment, by number. `auto` makes as few cohorts as keep `places`
    (cores, or GPUs) busy: at least one for each environment, because what a cohort sends is one
    environment's gradient.
    """
    environments = len(set(seating))
    peers = [
        [agent for agent, place in enumerate(seating) if place == index]
        for index in range(environments)
    ]
    size = agents_per_actor
    if size == "auto":
        wanted = max(1, int(places) // environments)  # cohorts of each environment
        sizes = [-(-len(agents) // wanted) for agents in peers]
    else:
        sizes = [int(size)] * environments
    cohorts = [
        tuple(agents[first : first + size])
        for agents, size in zip(peers, sizes, strict=True)
        for first in range(0, len(agents), size)
    ]
    return tuple(sorted(cohorts))


def computing_of(config: TrainConfig, cores: int) -> Computing:
    """How the cohorts of a run compute, on a machine with so many cores."""
    auto = max(1, cores - 1) if config.device == "cuda" else 0
    workers = auto if config.env_workers == "auto" else config.env_workers
    timeouts = Timeouts(config.env_timeout, config.env_start_timeout)
    given = timeouts if timeouts != Timeouts() else None
    return Computing(config.backend, config.device, workers, given)


def cohort_of(plan: Plan) -> dict[int, int]:
    """The cohort's place in `plan`, by agent."""
    return {agent: place for place, agents in enumerate(plan) for agent in agents}


def results_of(report: CohortReport) -> list[Result]:
    """A cohort's round as the population takes it in."""
    results: list[Result] = [Completed(r.agent, r) for r in report.reports]
    results += [Lost(f.agent, f.reason, f.detail) for f in report.failures]
    return results if report.gradient is None else [*results, Averaged(report.gradient)]
