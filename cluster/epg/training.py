"""`metagenrl baseline --algo epg --phase train`: losses that are evolved side by side.

One seed has the run's folder to itself (`run`); of several, each has seed-N/ below it.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from metagenrl.base.checks import UsageError
from metagenrl.base.console import table_console
from metagenrl.base.ending import Ending, say
from metagenrl.base.files.folder_lock import FolderLost
from metagenrl.base.memory import Memory
from metagenrl.base.retry import patiently
from metagenrl.baselines.epg.inner_loop import InnerLoop
from metagenrl.cluster.epg.loops import InProcessLoops, LoopEnded, Loops
from metagenrl.cluster.epg.recorder import EpgRecorder, inner_loop_bar
from metagenrl.cluster.epg.run import EpgRun
from metagenrl.cluster.joining.own_ray import ended_with_own_ray
from metagenrl.runs.config.epg import EpgTrainConfig
from metagenrl.runs.config.yaml import to_yaml
from metagenrl.runs.folder import log_to, open_folder
from metagenrl.runs.machine.needs import BASE, PROCESS, gib
from metagenrl.runs.names import CURVES_FILE
from metagenrl.runs.ownership import OwnFolder, own
from metagenrl.runs.resume import check_new_folder

HOW_IT_ENDS = (
    "to end it: Ctrl-C or SIGTERM; it ends within seconds, its generation is begun anew by --resume"
)

logger = logging.getLogger(__name__)


def train_epg(config: EpgTrainConfig) -> int:
    """Evolve each loss to its last generation; 0, or 1 where workers could not be kept alive.

    Raises `UsageError` where the workers do not fit the cluster, before anything is written, and
    `KeyboardInterrupt` once the workers are gone.
    """
    with ExitStack() as stack:
        ending = stack.enter_context(Ending().listening())
        own_folders = [
            stack.enter_context(own(each.run_dir, config.take_over))
            for each in (config, *(configs_of(config) if config.seeds > 1 else ()))
        ]
        if config.engine == "ray":
            stack.enter_context(ended_with_own_ray(ending))
        if not config.resume:
            check_new_folder(config.run_dir)  # another may have used it since
        try:
            return _train(config, ending, own_folders)
        except FolderLost as error:
            ending.at_once(f"error: {error}; this process ends", 1)
        except OSError as error:
            say(f"error: {error.strerror}; the same command with --resume goes on")
            return 1


def _train(config: EpgTrainConfig, ending: Ending, folders: Sequence[OwnFolder]) -> int:
    loops = _loops(config)
    ending.listen_again()  # Ray, which has been started, has handlers of its own
    print(HOW_IT_ENDS, flush=True)
    open_folder(config.run_dir, to_yaml(config), config.resume)
    handler = log_to(config.run_dir)
    console = table_console()
    configs = configs_of(config)
    try:
        with ExitStack() as stack:
            bar = stack.enter_context(inner_loop_bar(console))
            recorders = [stack.enter_context(EpgRecorder(c, console, bar)) for c in configs]
            runs = [EpgRun(*each) for each in zip(configs, recorders, strict=True)]
            evolve(runs, loops, ending, folders)
    except RuntimeError as error:
        logger.exception("the run ends")
        console.print(f"failed: {error}; the same command with --resume goes on", soft_wrap=True)
        return 1
    finally:
        loops.close()
        logging.getLogger("metagenrl").removeHandler(handler)
        handler.close()
    for each in configs:
        _draw(each.run_dir)
    return 0


def configs_of(config: EpgTrainConfig) -> list[EpgTrainConfig]:
    """A configuration for each seed, with a folder of its own where there are several."""
    if config.seeds == 1:
        return [config]
    return [
        dataclasses.replace(config, seed=seed, seeds=1, run_dir=config.run_dir / f"seed-{seed}")
        for seed in range(config.seed, config.seed + config.seeds)
    ]


def evolve(
    runs: Sequence[EpgRun],
    loops: Loops,
    ending: Ending | None = None,
    folders: Sequence[OwnFolder] = (),
) -> None:
    """All of them to the end; the inner loops of a generation of each run side by side.

    Raises `RuntimeError` as `Loops.run` does and where all inner loops of a generation failed.
    """
    ending = ending or Ending()
    while waiting := [run for run in runs if not run.finished]:
        tasks = [(run, vector, loop) for run in waiting for vector, loop in enumerate(run.begin())]

        def on_end(end: LoopEnded, tasks: list[tuple[EpgRun, int, InnerLoop]] = tasks) -> None:
            run, vector, _ = tasks[end.index]
            run.ended(dataclasses.replace(end, index=vector))

        loops.run([loop for _, _, loop in tasks], on_end)
        for folder in folders:
            patiently(folder.check, waiting[0].say)
        with ending.finishing("a checkpoint is written"):
            for run in waiting:
                run.complete()
        ending.raise_if_requested()


def _loops(config: EpgTrainConfig) -> Loops:
    if config.engine == "inprocess":
        torch.set_num_threads(1)
        return InProcessLoops()
    from metagenrl.cluster.engines.ray_cluster import actor_share
    from metagenrl.cluster.epg.ray_loops import RayLoops
    from metagenrl.cluster.joining.connect import connect
    from metagenrl.cluster.joining.nodes import ask_nodes

    def shared(cpus: float) -> float:
        return actor_share(config.workers, config.worker_cpus, cpus)

    try:
        share = shared(connect(shared))
    except ValueError as error:
        raise UsageError(str(error).replace("agents:", "workers:", 1)) from error
    reports = ask_nodes(config.environments, config.env_start_timeout)
    require_memory(config.workers, [r.memory for r in reports if r.memory is not None])
    return RayLoops(config.workers, share, config.loop_timeout, config.max_restarts)


def require_memory(workers: int, nodes: Sequence[Memory]) -> None:
    """Raise `UsageError` where so many processes, without what they compute, do not fit."""
    total = sum(node.total for node in nodes)
    needed = BASE + workers * PROCESS
    if nodes and needed > total:
        fitting = max(0, total - BASE) // PROCESS
        raise UsageError(
            f"workers: got {workers} (memory: {gib(needed)} of {gib(total)}), allowed: at most "
            f"{fitting}"
        )


def _draw(run_dir: Path) -> None:
    """A picture that cannot be drawn costs nothing but the picture."""
    from metagenrl.analysis.pictures.epg import draw_epg  # matplotlib: once all else is done

    try:
        print(f"curves: {draw_epg(run_dir, run_dir / CURVES_FILE)}")
    except Exception:
        logger.exception("%s could not be drawn", CURVES_FILE)
        print(f"{CURVES_FILE} could not be drawn (see run.log)")
