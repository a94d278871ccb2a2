"""The process that trains one agent: with a frozen objective (Algorithm 2) or another algorithm.

It gets its job as one line on standard input and ends at once when that closes, so that it never
outlives the command that started it. Only what training needs is imported: it starts in seconds.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from metagenrl.agents.environment.refusal import in_words, kind_and_words
from metagenrl.agents.environment.spec import drawn_environment
from metagenrl.base.ending import SIGNAL_EXIT, SIGNALS, end_what_is_left
from metagenrl.base.files.checkpoint_folder import newest_complete, prune, read_folder, write_folder
from metagenrl.base.job_process import read_job, when_parent_ends
from metagenrl.base.process import settle
from metagenrl.baselines.policy_files import write_policy
from metagenrl.baselines.registry import KeepsPolicy, LeavesPolicy, make_agent
from metagenrl.meta_test.spaces import spaces_part
from metagenrl.meta_test.watchdog import watched
from metagenrl.policies.kept import KeptPolicy, facts_of, policy_path
from metagenrl.runs.agent_files import EpisodeRow, RowFile
from metagenrl.runs.agent_job import TraineeJob
from metagenrl.runs.rows import EvaluationRow

CHECKPOINT_EVALUATIONS = 10
"""Evaluations between checkpoints; what is lost when the process is killed."""
CHECKPOINT_SHARE = 0.05
"""Share of the time that may go into checkpoints: with a large buffer they become rarer."""
KEEP_CHECKPOINTS = 2
PARENT_GONE_EXIT = 3

logger = logging.getLogger(__name__)


class TraineeRun:
    """One agent's life, with its rows and checkpoints; killed at any time, it can go on."""

    def __init__(self, job: TraineeJob, sign: Callable[[], None] = lambda: None) -> None:
        """A new agent, or the one in the newest complete checkpoint. Raises `CorruptFile`.

        `sign` is called after every step and evaluation.
        """
        self.job, self._sign = job, sign
        self._met = {env: drawn_environment(env, job.seed, 0, 0) for env in job.environments}
        """By environment, what the agent meets in its one life: a value from each range."""
        training = tuple(self._met[env] for env in job.training_envs)
        self.trainee = make_agent(
            replace(job, env=self._met[job.environments[0]], training_envs=training)
        )
        self.rows = RowFile(job.rows)
        self._saved_at, self._save_seconds = time.monotonic(), 0.0
        self._due, self._saved_steps = False, -1
        self._restore()

    def _restore(self) -> None:
        newest = newest_complete(self.job.checkpoints)
        if newest is None:
            self.rows.cut(0)
            return
        parts = read_folder(newest)
        self.trainee.load_state_dict(parts["trainee"])
        self.rows.cut(parts["rows"]["bytes"])
        logger.info("going on from step %d", self.trainee.steps)

    def run(self) -> None:
        """Train to the last step; then the checkpoints are superfluous and removed."""
        job, trainee = self.job, self.trainee
        if trainee.steps == 0:
            self._evaluate()
            self._sign()
        while trainee.steps < job.steps:
            episode = trainee.step()
            if episode is not None:
                total = episode.undiscounted_return
                self.rows.write(EpisodeRow(trainee.steps, total, episode.length))
            if trainee.steps % job.eval_every == 0 or trainee.steps == job.steps:
                self._evaluate()
            self._checkpoint_if_due()
            if _told_to_end and self._saved_steps == trainee.steps:
                trainee.close()
                raise SystemExit(SIGNAL_EXIT + signal.SIGTERM)
            self._sign()
        self.rows.sync()
        self.rows.close()
        trainee.close()
        shutil.rmtree(job.checkpoints, ignore_errors=True)

    def _evaluate(self) -> None:
        """A row for each environment; before the last ones, the policy is there for meta-tests."""
        if self.trainee.steps == self.job.steps and isinstance(self.trainee, LeavesPolicy):
            write_policy(self.job.policy, self.trainee.policy_state())
        if self.trainee.steps == self.job.steps and isinstance(self.trainee, KeepsPolicy):
            self._keep_policy(self.trainee)
        self.rows.write(*[self._evaluation(env) for env in self.job.environments])

    def _keep_policy(self, trainee: KeepsPolicy) -> None:
        """Write the policy for `enjoy`; on a full disk the run goes on without."""
        job = self.job
        try:
            facts = facts_of(job.label, self._met[job.env], job.seed, job.steps)
            path = policy_path(Path(job.folder), job.seed)
            KeptPolicy(facts, trainee.policy_arrays()).save(path)
        except OSError as error:
            logger.error("the policy was not kept: %s", error.strerror or error)

    def _evaluation(self, env: str) -> EvaluationRow:
        job = self.job
        met = self._met[env]
        episodes = self.trainee.evaluate(job.eval_episodes, met, job.eval_max_steps)
        returns = tuple(episode.undiscounted_return for episode in episodes)
        mean = sum(returns) / len(returns)
        cut = sum(episode.cut for episode in episodes)
        drawn = met if met != env else None
        return EvaluationRow(
            job.label, env, job.seed, self.trainee.steps, mean, returns, cut, drawn
        )

    def _checkpoint_if_due(self) -> None:
        """When to save changes no row, so it may depend on the clock."""
        job, steps = self.job, self.trainee.steps
        if steps % (job.eval_every * CHECKPOINT_EVALUATIONS) == 0:
            elapsed = time.monotonic() - self._saved_at
            self._due = elapsed >= self._save_seconds / CHECKPOINT_SHARE
        self._due = self._due or bool(_told_to_end)
        if not self._due or not self.trainee.resumable or steps == job.steps:
            return
        self._due, now = False, time.monotonic()
        try:
            rows = {"bytes": self.rows.sync()}
            parts = {"trainee": self.trainee.state_dict(), "rows": rows, **spaces_part(job)}
            write_folder(job.checkpoints, f"step-{steps:09d}", parts)
            prune(job.checkpoints, KEEP_CHECKPOINTS)
        except OSError as error:  # a full disk: training goes on and the next one tries again
            logger.error("checkpoint at step %d failed: %s", steps, error.strerror or error)
        self._saved_steps = steps  # or it could not be, which asking again does not change
        self._saved_at = time.monotonic()
        self._save_seconds = self._saved_at - now


def carry_out(job: TraineeJob) -> None:
    """Live the job's agent's life. Raises `TimeoutError` where it hangs for `job.timeout`.

    What importing and making its environments take is bounded by `job.start_timeout` alone.
    """

    def live(sign: Callable[[], None]) -> None:
        life = TraineeRun(job, sign)
        sign()
        life.run()

    if job.timeout:
        watched(live, job.timeout, job.start_timeout)
    else:
        TraineeRun(job).run()


_told_to_end: list[int] = []
"""The signals that have told this process to save its agent's state and end."""


def _parent_gone() -> None:
    end_what_is_left()
    os._exit(PARENT_GONE_EXIT)


def _in_a_line(error: BaseException) -> str:
    """What is said of an exception; without words, as RLlib raises one, its cause stands for it."""
    while kind_and_words(error) == type(error).__name__ and error.__cause__ is not None:
        error = error.__cause__
    ours = type(error).__module__.startswith("metagenrl.")
    return in_words(error) if ours else kind_and_words(error)


def main() -> None:
    """Carry out the job on standard input; an exception ends the process with exit code 1."""
    faulthandler.enable()
    for caught in SIGNALS:  # whoever sends it: a scheduler may send it to every process
        signal.signal(caught, lambda signum, frame: _told_to_end.append(signum))
    settle()
    job = TraineeJob.from_json(read_job())
    os.nice(job.niceness)
    when_parent_ends(_parent_gone)
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.INFO, format=form)
    try:
        carry_out(job)
    except Exception as error:
        traceback.print_exc()
        print(_in_a_line(error), file=sys.stderr)  # the last one is what the command says
        raise SystemExit(1) from None
    finally:
        end_what_is_left()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # whatever threads the environment has left


if __name__ == "__main__":
    main()
