"""`metagenrl test` and `metagenrl baseline`: new agents, each alone, trained by one algorithm.

The run folder, complete as it grows and the same bits however often the command was resumed:

    config.yaml             complete configuration, reproduces the run
    objective.json          what was tested: file, checksum, version, training environments
    objective.safetensors   a copy of the learned objective
    policies/               or of the policies that rl2 meta-trained
    seeds/seed-N.jsonl      evaluations and training episodes of one agent, as they happen
    seeds/seed-N.policy/    what the meta-training of rl2 came to
    evaluations.jsonl       the evaluations of all
    run.log, curves.png
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from rich.console import Console

from metagenrl.agents.environment.trial_process import facts_of
from metagenrl.base.checks import UsageError
from metagenrl.base.console import table_console
from metagenrl.base.ending import Ending, say
from metagenrl.base.files.atomic import write_atomic
from metagenrl.base.files.errors import reason_of
from metagenrl.base.files.folder_lock import FolderLost
from metagenrl.base.retry import patiently
from metagenrl.base.wording import counted
from metagenrl.meta_test.pool import SAVE_SECONDS, Ended, train_all
from metagenrl.meta_test.progress import EvaluationProgress
from metagenrl.meta_test.room import require_memory
from metagenrl.meta_test.spaces import require_known_spaces
from metagenrl.meta_test.summary import familiarity, summary
from metagenrl.meta_test.tested_objective import (
    TestedObjective,
    objective_of_baseline,
    objective_of_test,
)
from metagenrl.policies.kept import policy_path
from metagenrl.runs.agent_files import is_finished, merge_evaluations
from metagenrl.runs.agent_job import TraineeJob, agent_for
from metagenrl.runs.config.baselines import BASELINES, BaselineOptions
from metagenrl.runs.config.lone_agents import BaselineConfig, MetaTestConfig
from metagenrl.runs.config.yaml import to_yaml
from metagenrl.runs.folder import log_to
from metagenrl.runs.names import CONFIG_FILE, CURVES_FILE, SEEDS_FOLDER
from metagenrl.runs.ownership import OwnFolder, own
from metagenrl.runs.resume import check_new_folder
from metagenrl.tracking.wandb.lone_agents import track_evaluation

HOW_IT_ENDS = (
    "to end it: Ctrl-C or SIGTERM; each agent then saves its state, which may take up to "
    f"{SAVE_SECONDS:g} s; a second signal ends it at once"
)

logger = logging.getLogger(__name__)

Config = MetaTestConfig | BaselineConfig


def meta_test(config: MetaTestConfig) -> int:
    """Train new agents with a frozen objective (Algorithm 2); 0, or 1 where a seed failed.

    Raises `UsageError` before anything is written where the objective cannot be used, and
    `KeyboardInterrupt` once the agents' processes are gone.
    """
    return _evaluate(config, objective_of_test(config))


def baseline(config: BaselineConfig) -> int:
    """Train agents with an algorithm of section 9; as `meta_test`."""
    return _evaluate(config, objective_of_baseline(config))


def _evaluate(config: Config, tested: TestedObjective) -> int:
    with Ending().listening() as ending, own(config.run_dir, config.take_over) as folder:
        if not config.resume:
            check_new_folder(config.run_dir)  # another may have used it since
        try:
            return _run(config, tested, ending, folder)
        except FolderLost as error:
            ending.at_once(f"error: {error}; this process ends", 1)
        except OSError as error:
            say(f"error: {reason_of(error)}; the same command with --resume goes on")
            return ending.code or 1


def _run(config: Config, tested: TestedObjective, ending: Ending, folder: OwnFolder) -> int:
    started = time.monotonic()
    memory, jobs = require_memory(config), _jobs(config, tested)
    if config.resume:
        require_known_spaces(job for job in jobs if not is_finished(job.rows, job.steps))
    print(memory, flush=True)
    print(HOW_IT_ENDS, flush=True)
    _prepare_folder(config, tested)
    handler = log_to(config.run_dir)
    try:
        console = table_console()
        try:
            failed = _train(config, tested, jobs, console, ending, folder)
        finally:
            folder.check()
            rows = merge_evaluations(config.run_dir, [job.rows for job in jobs])
        ending.raise_if_requested()
        if len(failed) < config.seeds and not _drawn(config, tested):
            _say(console, f"{CURVES_FILE} could not be drawn (see run.log)")
        if not failed:
            track_evaluation(config, functools.partial(_say, console))
        for line in summary(config, tested, rows, time.monotonic() - started):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    finally:
        logging.getLogger("metagenrl").removeHandler(handler)
        handler.close()
    return 1 if failed else 0


def _prepare_folder(config: Config, tested: TestedObjective) -> None:
    """Everything but the seeds' own files; on resume what is there already stays."""
    seeds = config.run_dir / SEEDS_FOLDER
    if not config.resume and seeds.exists():
        raise UsageError(
            f"run_dir: got {str(config.run_dir)!r} (holds {SEEDS_FOLDER}/), allowed: a new folder"
        )
    config.run_dir.mkdir(parents=True, exist_ok=True)
    if not (config.run_dir / CONFIG_FILE).exists():
        write_atomic(config.run_dir / CONFIG_FILE, [to_yaml(config).encode()], durable=True)
    tested.save(config.run_dir)
    seeds.mkdir(exist_ok=True)


def _jobs(config: Config, tested: TestedObjective) -> list[TraineeJob]:
    rule = tested.choice.rule
    own: dict[str, Any] = {}
    facts = [facts_of(env) for env in config.environments]
    agent = agent_for(rule, config.agent)
    if isinstance(config, BaselineConfig):
        agent = agent_for(rule, config.agent, config.transitions)
        envs = config.environments if BASELINES[config.algo].meta_learner else ()
        own = {
            "training_envs": envs,
            **{part.name: getattr(config, part.name) for part in fields(BaselineOptions)},
        }
    return [
        TraineeJob(
            env=config.environments[0],
            seed=config.first_seed + index,
            label=tested.label,
            steps=config.steps,
            eval_every=config.eval_every,
            eval_episodes=config.eval_episodes,
            eval_max_steps=config.eval_max_steps,
            folder=str((config.run_dir / SEEDS_FOLDER).absolute()),
            agent=agent,
            objective=tested.choice,
            sizes=tuple((one.observation_size, one.action_size) for one in facts),
            **own,
        )
        for index in range(config.seeds)
    ]


def _say(console: Console, line: str) -> None:
    logger.warning("%s", line)
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _train(
    config: Config,
    tested: TestedObjective,
    jobs: Sequence[TraineeJob],
    console: Console,
    ending: Ending,
    folder: OwnFolder,
) -> list[int]:
    """Train the agents that are not finished; the seeds that failed. A signal ends them early."""
    missing = [job for job in jobs if not is_finished(job.rows, job.steps)]
    failed: list[int] = []
    with EvaluationProgress(jobs, config.steps, console) as progress:
        already = f", {len(jobs) - len(missing)} finished already" if config.resume else ""
        what = f"{tested.label} in {', '.join(config.environments)} ({familiarity(tested)})"
        progress.say(
            f"{what}: {counted(len(jobs), 'seed')} of {counted(config.steps, 'step')}{already}"
        )

        def on_end(end: Ended) -> None:
            if end.failure:
                failed.append(end.job.seed)
                progress.say(f"seed {end.job.seed}: failed: {end.failure} (see run.log)")
                logger.error("what seed %d logged last:\n%s", end.job.seed, end.detail)
            else:
                progress.say(f"seed {end.job.seed}: done, return {progress.final(end.job.seed)}")
                if _lost_policy(end.job):
                    progress.say(f"seed {end.job.seed}: its policy could not be written")

        def on_poll(running: Sequence[int]) -> None:
            patiently(folder.check, progress.say, give_up=lambda: ending.requested)
            progress.poll(running)

        with ending.finishing("each agent saves its state"):
            train_all(missing, config.workers, on_poll, on_end, lambda: ending.requested)
    return failed


def _lost_policy(job: TraineeJob) -> bool:
    """Whether a policy that `enjoy` would look for is not there; rl2 keeps one of another kind."""
    return job.objective.rule != "rl2" and not policy_path(Path(job.folder), job.seed).is_file()


def _drawn(config: Config, tested: TestedObjective) -> bool:
    """A picture that cannot be drawn costs nothing but the picture."""
    try:
        from metagenrl.analysis.pictures.meta_training import (
            draw_meta_test,  # matplotlib: once all else is done
        )

        training = tested.facts.get("phase") == "train"
        envs = None if training else tested.environments
        draw_meta_test([config.run_dir], config.run_dir / CURVES_FILE, envs)
    except Exception:
        logger.exception("%s could not be drawn", CURVES_FILE)
        return False
    return True
