"""`metagenrl train`: folder, store, engine and population put together."""

from __future__ import annotations

import functools
import logging
from pathlib import Path

from metagenrl.base.process import available_cores
from metagenrl.cluster.control.desk import ControlDesk
from metagenrl.cluster.control.reach import open_mailbox
from metagenrl.cluster.engines.in_process import InProcessEngine
from metagenrl.cluster.engines.interface import Engine
from metagenrl.cluster.engines.placement import Hosts, States, cpus_of, hosts_of, refuse, trials_of
from metagenrl.cluster.engines.plan import Share, computing_of
from metagenrl.cluster.held_out.tests import HeldOut
from metagenrl.cluster.population.loop import Population
from metagenrl.cluster.population.roster import Roster
from metagenrl.cluster.population.steering import Steering
from metagenrl.cluster.recording.recorder import Recorder
from metagenrl.learner.objective.net import first_alpha
from metagenrl.objective_server.adam import CosineDecay
from metagenrl.objective_server.config import ServerConfig
from metagenrl.objective_server.state import ServerState
from metagenrl.objective_server.store.open import deliver_rest, open_server, open_store
from metagenrl.runs.checkpoints import Checkpoints
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.folder import log_to, open_run
from metagenrl.runs.hints import resume_command

logger = logging.getLogger(__name__)


def train(config: TrainConfig) -> int:
    """Meta-train to the end; 0 when some agent finished, 1 when all failed.

    Raises `UsageError` where the agents do not fit the cluster, or a run has only damaged
    checkpoints, before anything is written.
    """
    checkpoints = Checkpoints(config.run_dir, config.keep_checkpoints)
    if config.resume is not None:
        refuse(checkpoints.require_sound)
    states = checkpoints.load() if config.resume is not None else None
    hosts = hosts_of(config, states)
    print(hosts.room, flush=True)
    identity = open_run(config)
    # Now: who is killed says nothing any more.
    print(f"if it is cut off, go on with: {resume_command(config.run_dir)}", flush=True)
    handler = log_to(config.run_dir)
    prepare_store(config, identity.id, states)
    recorder = Recorder(config, identity, states)
    engine = engine_of(config, identity.id, hosts)
    trials = trials_of(config)
    held_out = HeldOut(config, trials, recorder.record, recorder.moment)
    desk = ControlDesk(open_mailbox(config, identity.id))
    steering: Steering | None = None
    try:
        try:
            roster = Roster(config, identity.id)
            population = Population(config, engine, roster, recorder, held_out, checkpoints, states)
            steering = Steering(config, population, desk)
            finished = population.run(steering.before_round)
        finally:
            if steering is not None:
                steering.close()
            engine.close()
        trials.workers = config.held_out.eval_workers or cpus_of(config)  # all is left over now
        if not steering.stopped:
            held_out.finish(lambda waiting: recorder.tick(0, waiting))
    finally:
        held_out.close()
        recorder.close()
        deliver_rest(config.store, identity.id, config.run_dir)
        logging.getLogger("metagenrl").removeHandler(handler)
        handler.close()
    _picture(config.run_dir)
    if steering.stopped:
        print(f"stopped; to go on with it: {resume_command(config.run_dir)}")
    return 0 if finished else 1


def _picture(run_dir: Path) -> None:
    from metagenrl.analysis.pictures.meta_training import draw_training

    try:
        print(f"curves: {draw_training(run_dir)}")
    except (ValueError, OSError) as error:
        logger.warning("curves.png was not drawn: %s", error)


def engine_of(config: TrainConfig, run: str, hosts: Hosts) -> Engine:
    """The agents' hosts and the objective server of `run`, whose store has been prepared."""
    opened = functools.partial(
        open_server,
        config.store,
        config.run_dir.absolute(),
        run,
        learning_rate(config),
        server_config(config),
    )
    plan = None if config.agents_per_actor == 1 else hosts.plan
    computing = computing_of(config, available_cores())
    if config.engine == "inprocess":
        return InProcessEngine(opened, plan, computing)
    from metagenrl.cluster.engines.ray import RayEngine

    share = Share(hosts.share, hosts.gpus, config.agent_cpus is not None)
    return RayEngine(opened, share, config.round_timeout, plan, computing)


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
    store.commit(ServerState.start(run, alpha, learning_rate(config)).to_dict())
