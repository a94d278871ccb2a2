"""The process that trains one agent with a frozen objective (Algorithm 2).

It gets its job as one line on standard input and ends at once when that closes, so that it never
outlives the command that started it. Only what training needs is imported: it starts in seconds.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import shutil
import threading
import time

import torch
from metagenrl.agents.trainee import Trainee, TraineeConfig
from metagenrl.cluster.records import EvaluationRow
from metagenrl.cluster.seed_rows import EpisodeRow, RowFile
from metagenrl.cluster.trainee_job import TraineeJob
from metagenrl.cluster.trainee_objective import objective_for
from metagenrl.objective_server.files import newest_complete, prune, read_folder, write_folder

CHECKPOINT_EVALUATIONS = 10
"""Evaluations between checkpoints; what is lost when the process is killed."""
CHECKPOINT_SHARE = 0.05
"""Share of the time that may go into checkpoints: with a large buffer they become rarer."""
KEEP_CHECKPOINTS = 2
PARENT_GONE_EXIT = 3
_STDIN = 0

logger = logging.getLogger(__name__)


class TraineeRun:
    """One agent's life, with its rows and checkpoints; killed at any time, it can go on."""

    def __init__(self, job: TraineeJob) -> None:
        """A new agent, or the one in the newest complete checkpoint. Raises `CorruptFile`."""
        self.job = job
        config = TraineeConfig(job.env, job.seed, job.agent)
        self.trainee = Trainee(config, objective_for(job.objective, job.agent, job.seed))
        self.rows = RowFile(job.rows)
        self._saved_at, self._save_seconds = time.monotonic(), 0.0
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
        while trainee.steps < job.steps:
            episode = trainee.step()
            if episode is not None:
                total = episode.undiscounted_return
                self.rows.write(EpisodeRow(trainee.steps, total, episode.length))
            if trainee.steps % job.eval_every == 0 or trainee.steps == job.steps:
                self._evaluate()
                self._checkpoint_if_due()
        self.rows.sync()
        self.rows.close()
        trainee.close()
        shutil.rmtree(job.checkpoints, ignore_errors=True)

    def _evaluate(self) -> None:
        job, steps = self.job, self.trainee.steps
        episodes = self.trainee.evaluate(job.eval_episodes)
        returns = tuple(episode.undiscounted_return for episode in episodes)
        mean = sum(returns) / len(returns)
        self.rows.write(EvaluationRow(job.label, job.env, job.seed, steps, mean, returns))

    def _checkpoint_if_due(self) -> None:
        """When to save changes no row, so it may depend on the clock."""
        job, steps = self.job, self.trainee.steps
        now = time.monotonic()
        affordable = now - self._saved_at >= self._save_seconds / CHECKPOINT_SHARE
        if steps % (job.eval_every * CHECKPOINT_EVALUATIONS) or steps == job.steps:
            return
        if not affordable:
            return
        try:
            parts = {"trainee": self.trainee.state_dict(), "rows": {"bytes": self.rows.sync()}}
            write_folder(job.checkpoints, f"step-{steps:09d}", parts)
            prune(job.checkpoints, KEEP_CHECKPOINTS)
        except OSError as error:  # a full disk: training goes on and the next one tries again
            logger.error("checkpoint at step %d failed: %s", steps, error.strerror or error)
        self._saved_at = time.monotonic()
        self._save_seconds = self._saved_at - now


def main() -> None:
    """Carry out the job on standard input; an exception ends the process with exit code 1."""
    faulthandler.enable()
    torch.set_num_threads(1)
    with open(_STDIN, "rb", buffering=0, closefd=False) as stdin:
        job = TraineeJob.from_json(stdin.readline())
    os.nice(job.niceness)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.INFO, format=form)
    TraineeRun(job).run()


def _end_with_parent() -> None:
    # os.read and not sys.stdin: a buffered reader's lock, held here, fails the normal exit.
    while os.read(_STDIN, 1):
        pass
    os._exit(PARENT_GONE_EXIT)


if __name__ == "__main__":
    main()
