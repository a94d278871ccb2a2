"""Where a run's agents and held-out tests are computed, and whether there is room for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from metagenrl.agents.backend.graph import require_device
from metagenrl.base.checks import UsageError
from metagenrl.base.process import available_cores
from metagenrl.cluster.engines.plan import Plan, cohort_plan
from metagenrl.cluster.held_out.tests import Runner
from metagenrl.meta_test.pool import TraineePool
from metagenrl.runs.config.train import TrainConfig

States = Mapping[str, Mapping[str, Any]]
Checked = TypeVar("Checked")


@dataclass(frozen=True)
class Hosts:
    """Which agents work together, and what Ray reserves for each such group."""

    plan: Plan
    share: float  # CPUs
    gpus: float = 0.0  # a part of one


def hosts_of(config: TrainConfig, states: States | None) -> Hosts:
    """Where the agents go; joins or starts Ray where that is their engine.

    `states` are those of a run that goes on: it may have been scaled. Raises `UsageError` where
    the agents do not fit, saying how many do, before a local Ray is started.
    """
    if config.engine == "inprocess":
        refuse(lambda: require_device(config.device))
        return Hosts(cohort_plan(config, 1), 0.0)
    from metagenrl.cluster.engines.ray_cluster import actor_share, connect, gpu_share, gpus_here

    def fitting(cpus: float) -> Hosts:
        gpus = gpus_here() if config.device == "cuda" else 0
        plan = cohort_plan(config, gpus or cpus)
        actors = len(plan)
        if states is not None and config.agents_per_actor == 1:
            actors = sum(not seat["left"] for seat in states["population"]["roster"].values())
        share = actor_share(actors, config.agent_cpus, cpus)
        return Hosts(plan, share, gpu_share(actors, gpus) if config.device == "cuda" else 0.0)

    return refuse(lambda: fitting(connect(fitting)))


def refuse(check: Callable[[], Checked]) -> Checked:
    """What `check` returns; what it finds wrong (`ValueError`) is the user's to put right."""
    try:
        return check()
    except ValueError as error:
        raise UsageError(str(error)) from error


def trials_of(config: TrainConfig) -> Runner:
    """Where held-out tests run: on what the population leaves over."""
    options = config.held_out
    if config.engine == "inprocess":
        return TraineePool(options.eval_workers or max(1, cpus_of(config) - 1))
    from metagenrl.cluster.held_out.on_ray import RayTrials

    return RayTrials(options.eval_workers or max(1, cpus_of(config) - config.agents))


def cpus_of(config: TrainConfig) -> int:
    """CPUs of the machine, or of the Ray cluster."""
    if config.engine == "inprocess":
        return available_cores()
    from metagenrl.cluster.held_out.on_ray import cluster_cpus

    return cluster_cpus()
