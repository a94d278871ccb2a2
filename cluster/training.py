"""`metagenrl train`: folder, store, engine and population put together."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from metagenrl.cluster.config import TrainConfig, UsageError
from metagenrl.cluster.control import ControlDesk
from metagenrl.cluster.engine import Engine, InProcessEngine
from metagenrl.cluster.hints import resume_command
from metagenrl.cluster.population import Population
from metagenrl.cluster.reach import open_mailbox
from metagenrl.cluster.recorder import Recorder
from metagenrl.cluster.roster import Roster
from metagenrl.cluster.run_folder import Checkpoints, RunIdentity, log_to, open_run
from metagenrl.cluster.steering import Steering
from metagenrl.cluster.stores import open_store
from metagenrl.learner.objective_net import initial_alpha
from metagenrl.objective_server.config import ServerConfig
from metagenrl.objective_server.optimizer import CosineDecay
from metagenrl.objective_server.server import ObjectiveServer
from metagenrl.objective_server.state import ServerState
from metagenrl.objective_server.store_address import StoreAddress

logger = logging.getLogger(__name__)

ALPHA_STREAM = 0x6D657461
"""Mixed into the run's seed for alpha's initial value, so that no agent shares its stream."""


def train(config: TrainConfig) -> int:
    """Meta-train to the end; 0 when some agent finished, 1 when all failed.

    Raises `UsageError` where the agents do not fit the cluster, before anything is written.
    """
    checkpoints = Checkpoints(config.run_dir, config.keep_checkpoints)
    states = checkpoints.load() if config.resume is not None else None
    share = _connect(config, states) if config.engine == "ray" else 0.0
    identity = open_run(config)
    handler = log_to(config.run_dir)
    _prepare_store(config, identity, states)
    recorder = Recorder(config, identity, states)
    engine = _engine(config, identity, share)
    desk = ControlDesk(open_mailbox(config, identity.id))
    steering: Steering | None = None
    try:
        roster = Roster(config, identity.id)
        population = Population(config, engine, roster, recorder, checkpoints, states)
        steering = Steering(config, population, desk)
        finished = population.run(steering.before_round)
    finally:
        if steering is not None:
            steering.close()
        engine.close()
        recorder.close()
        logging.getLogger("metagenrl").removeHandler(handler)
        handler.close()
    _picture(config.run_dir)
    if steering.stopped:
        print(f"stopped; to go on with it: {resume_command(config.run_dir)}")
    return 0 if finished else 1


def _picture(run_dir: Path) -> None:
    from metagenrl.cluster.curves import draw_training

    try:
        print(f"curves: {draw_training(run_dir)}")
    except (ValueError, OSError) as error:
        logger.warning("curves.png was not drawn: %s", error)


def _connect(config: TrainConfig, states: Mapping[str, Mapping[str, Any]] | None) -> float:
    from metagenrl.cluster.ray_engine import connect

    agents = config.agents
    if states is not None:  # it may have been scaled
        agents = sum(not seat["left"] for seat in states["population"]["roster"].values())
    try:
        return connect(agents, config.agent_cpus)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _engine(config: TrainConfig, identity: RunIdentity, share: float) -> Engine:
    opened = functools.partial(
        open_server,
        config.store,
        config.run_dir.absolute(),
        identity.id,
        learning_rate(config),
        server_config(config),
    )
    if config.engine == "inprocess":
        return InProcessEngine(opened)
    from metagenrl.cluster.ray_engine import RayEngine

    return RayEngine(opened, share, config.round_timeout, fixed=config.agent_cpus is not None)


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
    address: StoreAddress,
    run_dir: Path,
    run: str,
    learning_rate: float | CosineDecay,
    config: ServerConfig,
) -> ObjectiveServer:
    """The server as the store has it; the driver has prepared the store."""
    store = open_store(address, run, run_dir)
    state = store.load()
    if state is None:
        raise RuntimeError(f"{run_dir}: the objective server's state is gone")
    server = ObjectiveServer.from_state(state, learning_rate, store, config)
    if state["run"] != run:
        raise RuntimeError(f"{run_dir}: holds the objective of run {state['run']}, not {run}")
    return server


def _prepare_store(
    config: TrainConfig, identity: RunIdentity, states: dict[str, dict[str, Any]] | None
) -> None:
    """Put the state to start from where the server will look: new, or the checkpoint's.

    On resume the rounds after the checkpoint are computed again (to the same bits in synchronous
    mode), by agents and server together, so the server goes back to it as well.
    """
    store = open_store(config.store, identity.id, config.run_dir, durable=True)
    if states is not None:
        store.commit(states["server"])
        return
    generator = torch.Generator().manual_seed(config.seed ^ ALPHA_STREAM)
    alpha = initial_alpha(config.objective, generator).numpy()
    store.commit(ServerState.start(identity.id, alpha, learning_rate(config)).to_dict())
