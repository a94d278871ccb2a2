"""`metagenrl train`: from the folder to the last checkpoint, and what ends it before."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path

from metagenrl.base.ending import Ending, say
from metagenrl.base.files.errors import reason_of
from metagenrl.base.files.folder_lock import FolderLost
from metagenrl.cluster.control.claim import Driver
from metagenrl.cluster.control.desk import ControlDesk
from metagenrl.cluster.control.reach import note_whereabouts, open_mailbox
from metagenrl.cluster.engines.placement import Hosts, States, cpus_of, hosts_of, refuse, trials_of
from metagenrl.cluster.joining.own_ray import ended_with_own_ray
from metagenrl.cluster.parts import engine_of, held_out_tests, prepare_store
from metagenrl.cluster.population.departures import Departures
from metagenrl.cluster.population.loop import Population
from metagenrl.cluster.population.roster import Roster
from metagenrl.cluster.population.steering import Steering
from metagenrl.cluster.recording.recorder import Recorder
from metagenrl.objective_server.store.open import deliver_rest
from metagenrl.runs.checkpoints import Checkpoints
from metagenrl.runs.config.held_out import HeldOutOptions
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.folder import log_to, open_run, resume_command
from metagenrl.runs.machine.identity import RunIdentity, identity_of
from metagenrl.runs.names import CURVES_FILE
from metagenrl.runs.ownership import OwnFolder, own
from metagenrl.runs.resume import check_new_folder

logger = logging.getLogger(__name__)


def train(config: TrainConfig) -> int:
    """Meta-train to the end; 0 when some agent finished, 1 when all failed.

    1 also where the last checkpoint or objective could not be written; 143, 129 or 130 where
    SIGTERM, SIGHUP or Ctrl-C ended it. Raises `UsageError` where another process works in the
    folder or goes on with the same run in a copy of it, where the agents do not fit the cluster,
    or a run has only damaged checkpoints, before anything is written.
    """
    again = resume_command(config.run_dir)
    with contextlib.ExitStack() as stack:
        ending = stack.enter_context(Ending(again).listening())
        folder = stack.enter_context(own(config.run_dir, config.take_over))
        if config.engine == "ray":
            stack.enter_context(ended_with_own_ray(ending))
        if config.resume is None:
            check_new_folder(config.run_dir)  # another may have used it since
        try:
            return _train(config, ending, folder)
        except FolderLost as error:
            ending.hint = ""
            ending.at_once(f"error: {error}; this process ends", 1)
        except OSError as error:
            ended = f"{ending.name}: ended without what" if ending.requested else "error: the rest"
            say(f"{ended} could not be written: {reason_of(error)}, go on with: {again}")
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
    handler = log_to(config.run_dir)
    try:
        return _go_on(config, ending, folder, hosts, checkpoints, states)
    finally:
        logging.getLogger("metagenrl").removeHandler(handler)
        handler.close()


def _go_on(
    config: TrainConfig,
    ending: Ending,
    folder: OwnFolder,
    hosts: Hosts,
    checkpoints: Checkpoints,
    states: States | None,
) -> int:
    resumed = config.resume is not None
    known = identity_of("resume", config.run_dir) if resumed else RunIdentity.new()
    driver = Driver(str(config.run_dir.absolute()), folder.holder)
    # A run that goes on elsewhere is refused here, before anything is written.
    mailbox = open_mailbox(config.store, config.engine, known.id, driver, resumed)
    desk = ControlDesk(mailbox, driver)
    desk.begin()
    try:
        identity = open_run(config, known)
        note_whereabouts(config.run_dir, config.store, config.engine)
        # Now: who is killed says nothing any more.
        print(f"if it is cut off, go on with: {resume_command(config.run_dir)}", flush=True)
        print(how_it_ends(config.round_timeout, mailbox is not None), flush=True)
        if resumed and states is None:
            print("no checkpoint yet: the run begins anew", flush=True)
            logger.warning("no checkpoint yet: the run begins anew")
        parts = _Parts(identity, hosts, checkpoints, states, desk)
        finished = _meta_train(config, ending, folder, parts)
    finally:
        desk.close()
    if ending.requested:
        print(f"ended by {ending.name}; go on with: {resume_command(config.run_dir)}")
        return ending.code
    if not finished:
        print(f"failed: no agent is left; {config.run_dir / 'run.log'} says what became of each")
        return 1
    return 0


@dataclass(frozen=True)
class _Parts:
    """The parts that a run is put together from."""

    identity: RunIdentity
    hosts: Hosts
    checkpoints: Checkpoints
    states: States | None
    desk: ControlDesk


def _meta_train(config: TrainConfig, ending: Ending, folder: OwnFolder, parts: _Parts) -> bool:
    """The population from its start to its end; whether it finished, or was told to stop."""
    run, states = parts.identity.id, parts.states
    prepare_store(config, run, states)
    recorder = Recorder(config, parts.identity, states)
    engine = engine_of(config, run, parts.hosts)
    tests = trials_of(config.engine, config.agents, config.held_out.eval_workers)
    held_out = held_out_tests(config, tests, recorder)
    steering: Steering | None = None
    try:
        try:
            population = Population(
                config, engine, Roster(config, run), recorder, held_out, parts.checkpoints, states,
                ending,
            )  # fmt: skip
            steering = Steering(population, Departures(config.run_dir), parts.desk, ending)

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
    if (note := recorder.fruitless()) is not None:
        print(note, flush=True)
        logger.warning(note)
    if not ending.requested:
        _picture(config.run_dir)
        if steering.stopped:
            print(f"stopped; to go on with it: {resume_command(config.run_dir)}")
    return finished


def how_it_ends(round_timeout: float, reached: bool) -> str:
    """How long the run needs from a signal to its end, for those who set grace periods.

    `reached`: whether `metagenrl stop` finds it.
    """
    by = "Ctrl-C, SIGTERM or `metagenrl stop`" if reached else "Ctrl-C or SIGTERM"
    return (
        f"to end it: {by}; leave it the time of a round (at most {round_timeout:g} s) and of a "
        "checkpoint, a second signal ends it at once"
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
    except Exception:  # a picture that cannot be drawn costs nothing but the picture
        logger.exception("%s could not be drawn", CURVES_FILE)
        print(f"{CURVES_FILE} could not be drawn (see run.log)")
