"""`metagenrl train`: folder, store, engine and population put together."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from metagenrl.cluster.cohorts import Plan, cohort_plan
from metagenrl.cluster.config import TrainConfig, UsageError, available_cores
from metagenrl.cluster.engine import Engine, InProcessEngine
from metagenrl.cluster.held_out import HeldOut, Runner
from metagenrl.cluster.inprocess_cohorts import InProcessCohortEngine
from metagenrl.cluster.population import Population
from metagenrl.cluster.recorder import Recorder
from metagenrl.cluster.roster import Roster
from metagenrl.cluster.run_folder import Checkpoints, RunIdentity, log_to, open_run
from metagenrl.cluster.trainee_pool import TraineePool
from metagenrl.learner.objective_net import initial_alpha
from metagenrl.objective_server.config import ServerConfig
from metagenrl.objective_server.file_store import FileStore
from metagenrl.objective_server.optimizer import CosineDecay
from metagenrl.objective_server.server import ObjectiveServer
from metagenrl.objective_server.state import ServerState

logger = logging.getLogger(__name__)

Checked = TypeVar("Checked")

ALPHA_STREAM = 0x6D657461
"""Mixed into the run's seed for alpha's initial value, so that no agent shares its stream."""


@dataclass(frozen=True)
class Hosts:
    """Which agents work together, and what Ray reserves for each such group."""

    plan: Plan
    share: float  # CPUs


def train(config: TrainConfig) -> int:
    """Meta-train to the end; 0 when some agent finished, 1 when all failed.

    Raises `UsageError` where the agents do not fit the cluster, or a run has only damaged
    checkpoints, before anything is written.
    """
    checkpoints = Checkpoints(config.run_dir, config.keep_checkpoints)
    if config.resume is not None:
        _refuse(checkpoints.require_sound)
    hosts = _hosts(config)
    identity = open_run(config)
    handler = log_to(config.run_dir)
    states = checkpoints.load() if config.resume is not None else None
    prepare_store(config, identity.id, states)
    recorder = Recorder(config, identity, states)
    engine = _engine(config, identity, hosts)
    trials = _trials(config)
    held_out = HeldOut(config, trials, recorder.record, recorder.moment)
    try:
        try:
            roster = Roster(config, identity.id)
            population = Population(config, engine, roster, recorder, held_out, checkpoints, states)
            finished = population.run()
        finally:
            engine.close()
        trials.workers = config.held_out.eval_workers or _cpus(config)  # all is left over now
        held_out.finish(recorder.tick)
    finally:
        held_out.close()
        recorder.close()
        logging.getLogger("metagenrl").removeHandler(handler)
        handler.close()
    _picture(config.run_dir)
    return 0 if finished else 1


def _picture(run_dir: Path) -> None:
    from metagenrl.cluster.curves import draw_training

    try:
        print(f"curves: {draw_training(run_dir)}")
    except (ValueError, OSError) as error:
        logger.warning("curves.png was not drawn: %s", error)


def _trials(config: TrainConfig) -> Runner:
    """Where held-out tests run: on what the population leaves over."""
    options = config.held_out
    if config.engine == "inprocess":
        return TraineePool(options.eval_workers or max(1, _cpus(config) - 1))
    from metagenrl.cluster.ray_trials import RayTrials

    return RayTrials(options.eval_workers or max(1, _cpus(config) - config.agents))


def _cpus(config: TrainConfig) -> int:
    if config.engine == "inprocess":
        return available_cores()
    from metagenrl.cluster.ray_trials import cluster_cpus

    return cluster_cpus()


def _hosts(config: TrainConfig) -> Hosts:
    if config.engine == "inprocess":
        return Hosts(cohort_plan(config, cores=1), 0.0)
    from metagenrl.cluster.ray_engine import actor_share, connect

    cpus = connect()
    plan = cohort_plan(config, cpus)
    return Hosts(plan, _refuse(lambda: actor_share(len(plan), config.agent_cpus, cpus)))


def _refuse(check: Callable[[], Checked]) -> Checked:
    """What `check` returns; what it finds wrong is the user's to put right."""
    try:
        return check()
    except ValueError as error:
        raise UsageError(str(error)) from error


def _engine(config: TrainConfig, identity: RunIdentity, hosts: Hosts) -> Engine:
    opened = functools.partial(
        open_server,
        config.run_dir.absolute(),
        identity.id,
        learning_rate(config),
        server_config(config),
    )
    alone = config.agents_per_actor == 1
    if config.engine == "inprocess":
        return InProcessEngine(opened) if alone else InProcessCohortEngine(opened, hosts.plan)
    if alone:
        from metagenrl.cluster.ray_engine import RayEngine

        return RayEngine(opened, hosts.share, config.round_timeout)
    from metagenrl.cluster.ray_cohorts import RayCohortEngine

    return RayCohortEngine(opened, hosts.share, config.round_timeout, hosts.plan)


def first_alpha(config: TrainConfig) -> torch.Tensor:
    """The objective's parameters before meta-training, version 0: flat `[P_alpha]`."""
    generator = torch.Generator().manual_seed(config.seed ^ ALPHA_STREAM)
    return initial_alpha(config.objective, generator)


def learning_rate(config: TrainConfig) -> float | CosineDecay:
    """Alpha's step size: constant, or falling to 0 over the run's rounds."""
    meta = config.meta
    if meta.learning_rate_decay == "none":
        return meta.learning_rate
    return CosineDecay(meta.learning_rate, -(-config.steps // config.agent.policy_delay))


def server_config(config: TrainConfig) -> ServerConfig:
    """The server's part of the configuration."""
    options = config.server
    return ServerConfig(options.staleness_bound, options.quorum, options.quarantine_after)


def open_server(
    run_dir: Path, run: str, learning_rate: float | CosineDecay, config: ServerConfig
) -> ObjectiveServer:
    """The server as the store has it; the driver has prepared the store."""
    store = FileStore(run_dir)
    state = store.load()
    if state is None:
        raise RuntimeError(f"{run_dir}: the objective server's state is gone")
    server = ObjectiveServer.from_state(state, learning_rate, store, config)
    if state["run"] != run:
        raise RuntimeError(f"{run_dir}: holds the objective of run {state['run']}, not {run}")
    return server


def prepare_store(config: TrainConfig, run: str, states: dict[str, dict[str, Any]] | None) -> None:
    """Put the state to start from where the server will look: new, or the checkpoint's.

    On resume the rounds after the checkpoint are computed again (to the same bits in synchronous
    mode), by agents and server together, so the server goes back to it as well.
    """
    store = FileStore(config.run_dir, durable=True)
    if states is not None:
        store.commit(states["server"])
        return
    alpha = first_alpha(config).numpy()
    store.commit(ServerState.start(run, alpha, learning_rate(config)).to_dict())
