"""Where a run's agents and held-out tests are computed, and whether there is room for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from metagenrl.agents.backend.graph import require_device
from metagenrl.agents.environment.trial_process import facts_of
from metagenrl.base.checks import UsageError, require
from metagenrl.base.memory import Memory, memory_here
from metagenrl.base.process import available_cores
from metagenrl.cluster.engines.plan import Plan, cohort_plan
from metagenrl.cluster.held_out.tests import Runner
from metagenrl.cluster.joining.room import (
    Crowd,
    needs_of,
    require_disk,
    require_memory,
    require_memory_to_grow,
)
from metagenrl.meta_test.pool import TraineePool
from metagenrl.runs.checkpoints import agent_part
from metagenrl.runs.config.train import EngineName, TrainConfig

States = Mapping[str, Mapping[str, Any]]
Checked = TypeVar("Checked")


@dataclass(frozen=True)
class Hosts:
    """Which agents work together, and what Ray reserves for each such group."""

    plan: Plan
    share: float  # CPUs
    gpus: float = 0.0  # a part of one
    room: str = ""  # memory and disk: what is needed and what is there, one line


def hosts_of(config: TrainConfig, states: States | None) -> Hosts:
    """Where the agents go; joins or starts Ray where that is their engine.

    `states` are those of a run that goes on: it may have been scaled. Raises `UsageError` where
    the agents do not fit, saying how many do, before a local Ray is started, and where an
    environment cannot be made on a node.
    """
    present = _present(config.agents, states)
    if states is not None:
        _require_known_spaces(config, present, states)
    if config.engine == "inprocess":
        refuse(lambda: require_device(config.device))
        room = _room(config, (present,), [memory_here()], available_cores())
        plan = cohort_plan(config.seating, config.agents_per_actor, 1)
        return Hosts(plan, 0.0, room=room)
    from metagenrl.cluster.engines.ray_cluster import actor_share, gpu_share, gpus_here
    from metagenrl.cluster.joining.autoscaler import await_cpus
    from metagenrl.cluster.joining.connect import connect
    from metagenrl.cluster.joining.nodes import ask_nodes

    def fitting(cpus: float, nodes: Sequence[Memory]) -> Hosts:
        gpus = gpus_here() if config.device == "cuda" else 0
        plan = cohort_plan(config.seating, config.agents_per_actor, gpus or cpus)
        actors = tuple((agent,) for agent in present) if config.agents_per_actor == 1 else plan
        share = actor_share(len(actors), config.agent_cpus, cpus)
        room = _room(config, actors, nodes, gpus or cpus)
        part = gpu_share(len(actors), gpus) if config.device == "cuda" else 0.0
        return Hosts(plan, share, part, room)

    def local(cores: float) -> Hosts:
        allowed = f"at most {cores:g} on this machine alone; RAY_ADDRESS names a cluster"
        require(config.cluster_cpus <= cores, "cluster_cpus", config.cluster_cpus, allowed)
        return fitting(cores, [memory_here()])

    start = config.worker_start if config.device == "cpu" else "spawn"
    refuse(lambda: connect(local, start))
    cpus = await_cpus(config.cluster_cpus, config.cluster_wait)
    reports = ask_nodes((*config.envs, *config.held_out.eval_envs), config.env_start_timeout)
    known = [report.memory for report in reports if report.memory is not None]
    return refuse(lambda: fitting(cpus, known or [memory_here()]))


def _present(agents: int, states: States | None) -> tuple[int, ...]:
    """The agents that the run begins with."""
    if states is None:
        return tuple(range(agents))
    roster = states["population"]["roster"]
    return tuple(sorted(int(agent) for agent, seat in roster.items() if not seat["left"]))


def _require_known_spaces(config: TrainConfig, present: Sequence[int], states: States) -> None:
    """Refuse an environment whose sizes have changed since the run's agents began.

    Their networks and experience would not fit. Raises `UsageError`.
    """
    for index in present:
        buffer = states.get(agent_part(index), {}).get("rollout", {}).get("buffer", {})
        if not {"observations", "actions"} <= buffer.keys():
            continue
        env = config.env_of(index)
        facts = facts_of(env)
        sizes = (facts.observation_size, facts.action_size)
        began = tuple(int(buffer[name].shape[-1]) for name in ("observations", "actions"))
        if sizes != began:
            raise UsageError(
                f"resume: got {str(config.resume)!r} ({env} has {sizes[0]} observations and "
                f"{sizes[1]} actions now, agent {index} began with {began[0]} and {began[1]}), "
                "allowed: the environment that the run began with"
            )


def _room(config: TrainConfig, actors: Plan, nodes: Sequence[Memory], places: float) -> str:
    """The line about memory and disk. Raises `UsageError` where the population cannot fit."""
    tests = config.held_out.eval_workers or max(1, int(places) - len(actors))
    beside = tests if config.held_out.eval_envs else 0
    crowd = _crowd(config)
    alone = config.agents_per_actor == 1 and len(actors) > 1
    cohorts = cohort_plan(config.seating, "auto", places) if alone else None
    memory = require_memory(crowd, actors, nodes, beside, cohorts)
    checkpoint = needs_of(crowd, actors).checkpoint
    written = -(-config.steps // config.checkpoint_every)
    disk = require_disk(config.run_dir, config.keep_checkpoints, written, checkpoint)
    return f"memory: {memory}; {disk}"


def _crowd(config: TrainConfig) -> Crowd:
    return Crowd(config.agent, config.steps, config.env_of, on_ray=config.engine == "ray")


def require_room_to_grow(config: TrainConfig, agents: int, nodes: Sequence[Memory]) -> None:
    """Raise `UsageError` where a run cannot have so many agents in the memory of its nodes."""
    everyone = range(agents)
    together = config.engine == "inprocess"
    plan = (tuple(everyone),) if together else tuple((agent,) for agent in everyone)
    require_memory_to_grow(_crowd(config), plan, nodes)


def refuse(check: Callable[[], Checked]) -> Checked:
    """The result of `check`; its `ValueError` becomes a `UsageError`, the user's to put right."""
    try:
        return check()
    except ValueError as error:
        raise UsageError(str(error)) from error


def trials_of(engine: EngineName, agents: int, workers: int | None) -> Runner:
    """Where held-out tests run: so many at a time, or what a population of `agents` leaves over."""
    if engine == "inprocess":
        return TraineePool(workers or max(1, cpus_of(engine) - 1))
    from metagenrl.cluster.held_out.on_ray import RayTrials

    return RayTrials(workers or max(1, cpus_of(engine) - agents))


def cpus_of(engine: EngineName) -> int:
    """CPUs of the machine, or of the Ray cluster."""
    if engine == "inprocess":
        return available_cores()
    from metagenrl.cluster.held_out.on_ray import cluster_cpus

    return cluster_cpus()
