"""`metagenrl train`: folder, store, engine and population put together."""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass
from pathlib import Path

from metagenrl.base.ending import Ending, say
from metagenrl.base.files.folder_lock import FolderLost
from metagenrl.base.process import available_cores
from metagenrl.cluster.control.desk import ControlDesk
from metagenrl.cluster.control.reach import open_mailbox
from metagenrl.cluster.engines.in_process import InProcessEngine
from metagenrl.cluster.engines.interface import Engine
from metagenrl.cluster.engines.placement import Hosts, States, cpus_of, hosts_of, refuse, trials_of
from metagenrl.cluster.engines.plan import Share, computing_of
from metagenrl.cluster.held_out.tests import HeldOut, Runner
from metagenrl.cluster.held_out.trials import trials
from metagenrl.cluster.population.departures import Departures
from metagenrl.cluster.population.loop import Population
from metagenrl.cluster.population.roster import Roster
from metagenrl.cluster.population.steering import Steering
from metagenrl.cluster.recording.recorder import Recorder
from metagenrl.learner.hyperparams import MetaConfig
from metagenrl.learner.objective.net import first_alpha
from metagenrl.objective_server.adam import CosineDecay
from metagenrl.objective_server.config import ServerConfig
from metagenrl.objective_server.state import ServerState
from metagenrl.objective_server.store.open import deliver_rest, open_server, open_store
from metagenrl.runs.checkpoints import Checkpoints
from metagenrl.runs.config.held_out import HeldOutOptions
from metagenrl.runs.config.train import ServerOptions, TrainConfig
from metagenrl.runs.folder import log_to, open_run, resume_command
from metagenrl.runs.machine.identity import RunIdentity
from metagenrl.runs.ownership import OwnFolder, own
from metagenrl.runs.resume import check_new_folder

logger = logging.getLogger(__name__)


def train(config: TrainConfig) -> int:
    """Meta-train to the end; 0 when some agent finished, 1 when all failed.

    1 also where the last checkpoint or objective could not be written; 143, 129 or 130 where
    SIGTERM, SIGHUP or Ctrl-C ended it. Raises `UsageError` where another process works in the
    folder, where the agents do not fit the cluster, or a run has only damaged checkpoints, before
    anything is written.
    """
    again = resume_command(config.run_dir)
    with Ending(again).listening() as ending, own(config.run_dir, config.take_over) as folder:
        if config.resume is None:
            check_new_folder(config.run_dir)  # another may have used it since
        try:
            return _train(config, ending, folder)
        except FolderLost as error:
            ending.hint = ""
            ending.at_once(f"error: {error}; this process ends", 1)
        except OSError as error:
            ended = f"{ending.name}: ended without what" if ending.requested else "error: the rest"
            say(f"{ended} could not be written: {error.strerror}, go on with: {again}")
            return ending.code or 1


def _train(config: TrainConfig, ending: Ending, folder: OwnFolder) -> int:
    checkpoints = Checkpoints(config.run_dir, config.keep_checkpoints)
    if config.resume is not None:
        refuse(checkpoints.require_sound)
    states = checkpoints.load() if config.resume is not None else None
    if states is not None and _finished(config.steps, config.held_out, states):
        print(f"this run has finished: {config.run_dir}; to train longer: --steps N")
        return 0
    hosts = hosts_of(config, states)
    ending.listen_again()  # Ray, which has been started, has handlers of its own
    print(hosts.room, flush=True)
    identity = open_run(config)
    # Now: who is killed says nothing any more.
    print(f"if it is cut off, go on with: {resume_command(config.run_dir)}", flush=True)
    print(how_it_ends(config.round_timeout), flush=True)
    handler = log_to(config.run_dir)
    if config.resume is not None and states is None:
        print("no checkpoint yet: the run begins anew", flush=True)
        logger.warning("no checkpoint yet: the run begins anew")
    try:
        finished = _meta_train(config, ending, folder, _Parts(identity, hosts, checkpoints, states))
    finally:
        logging.getLogger("metagenrl").removeHandler(handler)
        handler.close()
    if ending.requested:
        print(f"ended by {ending.name}; go on with: {resume_command(config.run_dir)}")
        return ending.code
    return 0 if finished else 1


@dataclass(frozen=True)
class _Parts:
    """What a run is put together from."""

    identity: RunIdentity
    hosts: Hosts
    checkpoints: Checkpoints
    states: States | None


def _meta_train(config: TrainConfig, ending: Ending, folder: OwnFolder, parts: _Parts) -> bool:
    """The population from its start to its end; whether it finished, or was told to stop."""
    run, states = parts.identity.id, parts.states
    prepare_store(config, run, states)
    recorder = Recorder(config, parts.identity, states)
    engine = engine_of(config, run, parts.hosts)
    tests = trials_of(config.engine, config.agents, config.held_out.eval_workers)
    held_out = held_out_tests(config, tests, recorder)
    desk = ControlDesk(open_mailbox(config.run_dir, run, config.store, config.engine))
    steering: Steering | None = None
    try:
        try:
            population = Population(
                config, engine, Roster(config, run), recorder, held_out, parts.checkpoints, states,
                ending,
            )  # fmt: skip
            steering = Steering(population, Departures(config.run_dir), desk, ending)

            def steer() -> bool:
                population.wait_for_folder(folder)
                return steering.before_round()

            with ending.finishing("the round ends and a checkpoint is written"):
                finished = population.run(steer)
        finally:
            if steering is not None:
                steering.close()
            engine.close()
        # All is left over now.
        tests.workers = config.held_out.eval_workers or cpus_of(config.engine)
        if not steering.stopped and not ending.requested:
            held_out.finish(lambda waiting: recorder.tick(0, waiting))
    finally:
        held_out.close()
        recorder.close()
        deliver_rest(config.store, run, config.run_dir)
    if not ending.requested:
        _picture(config.run_dir)
        if steering.stopped:
            print(f"stopped; to go on with it: {resume_command(config.run_dir)}")
    return finished


def how_it_ends(round_timeout: float) -> str:
    """How long the run needs from a signal to its end, for those who set grace periods."""
    return (
        "to end it: Ctrl-C, SIGTERM or `metagenrl stop`; leave it the time of a round (at most "
        f"{round_timeout:g} s) and of a checkpoint, a second signal ends it at once"
    )


def _finished(steps: int, held_out: HeldOutOptions, states: States) -> bool:
    """Whether no agent has a step to take and no held-out test can be left."""
    seats = states["population"]["roster"].values()
    return not held_out.eval_envs and all(
        seat["left"] or seat["joined"] + seat["steps"] >= steps for seat in seats
    )


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
    of_candidate = functools.partial(trials, config.held_out, config.agent, config.objective)
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
