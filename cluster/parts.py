"""The parts of a meta-training, each made of the sections of its configuration that it needs."""

from __future__ import annotations

import functools

from metagenrl.base.process import available_cores
from metagenrl.cluster.engines.in_process import InProcessEngine
from metagenrl.cluster.engines.interface import Engine
from metagenrl.cluster.engines.placement import Hosts, States
from metagenrl.cluster.engines.plan import Share, computing_of
from metagenrl.cluster.held_out.tests import HeldOut, Runner
from metagenrl.cluster.held_out.trials import trials
from metagenrl.cluster.recording.recorder import Recorder
from metagenrl.learner.hyperparams import MetaConfig
from metagenrl.learner.objective.net import first_alpha
from metagenrl.objective_server.adam import CosineDecay
from metagenrl.objective_server.config import ServerConfig
from metagenrl.objective_server.state import ServerState
from metagenrl.objective_server.store.open import open_server, open_store
from metagenrl.runs.config.train import ServerOptions, TrainConfig


def engine_of(config: TrainConfig, run: str, hosts: Hosts) -> Engine:
    """The agents' hosts and the objective server of `run`, whose store has been prepared."""
    opened = functools.partial(
        open_server,
        config.store,
        config.run_dir.absolute(),
        run,
        learning_rate(config.meta, config.rounds),
        server_config(config.server),
    )
    plan = None if config.agents_per_actor == 1 else hosts.plan
    computing = computing_of(config, available_cores())
    if config.engine == "inprocess":
        return InProcessEngine(opened, plan, computing)
    from metagenrl.cluster.engines.ray import RayEngine

    share = Share(hosts.share, hosts.gpus, config.agent_cpus is not None)
    return RayEngine(opened, share, config.round_timeout, plan, computing)


def held_out_tests(config: TrainConfig, runner: Runner, recorder: Recorder) -> HeldOut:
    """The tests of alpha beside the population; their results become rows of the run."""
    of_candidate = functools.partial(
        trials, config.held_out, config.agent, config.objective, config.env_start_timeout
    )
    return HeldOut(
        config.run_dir, config.held_out, of_candidate, runner, recorder.record, recorder.moment
    )


def learning_rate(meta: MetaConfig, rounds: int) -> float | CosineDecay:
    """Alpha's step size: constant, or falling to 0 over the run's rounds."""
    if meta.learning_rate_decay == "none":
        return meta.learning_rate
    return CosineDecay(meta.learning_rate, rounds)


def server_config(options: ServerOptions) -> ServerConfig:
    """How the server closes rounds."""
    return ServerConfig(options.staleness_bound, options.quorum, options.quarantine_after)


def prepare_store(config: TrainConfig, run: str, states: States | None) -> None:
    """Put the state to start from where the server will look: new, or the checkpoint's.

    On resume the rounds after the checkpoint are computed again (to the same bits in synchronous
    mode), by agents and server together, so the server goes back to it as well.
    """
    store = open_store(config.store, run, config.run_dir, durable=True)
    if states is not None:
        store.commit(states["server"])
        return
    alpha = first_alpha(config.objective, config.seed).numpy()
    rate = learning_rate(config.meta, config.rounds)
    store.commit(ServerState.start(run, alpha, rate).to_dict())
