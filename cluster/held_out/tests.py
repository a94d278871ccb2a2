"""Held-out evaluation beside a population that goes on training (Figures 4 and 10).

Versions of alpha train new agents, in processes of low priority that nothing waits for. Which
tests are done is read off their files, so a resumed run does what is missing and nothing twice.
Results enter the run's rows version by version, in order, whatever order they come in.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from metagenrl.cluster.held_out.rows import HeldOutRows
from metagenrl.cluster.held_out.score import Standing, standing
from metagenrl.cluster.held_out.trials import (
    Candidate,
    keep_candidate,
    kept_candidates,
    mean_return,
    result,
)
from metagenrl.meta_test.pool import Ended
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.runs.agent_job import TraineeJob
from metagenrl.runs.config.held_out import HeldOutOptions
from metagenrl.runs.rows import EvaluationRow, MetricsRow, Moment
from metagenrl.runs.run_records import GIVEN_UP

POLL_SECONDS = 1.0
TRIES = 3
"""Times that a test is begun before its version is left without a score."""

logger = logging.getLogger(__name__)


class Runner(Protocol):
    """Where tests are carried out: `TraineePool` in processes here, `RayTrials` in Ray tasks."""

    workers: int  # tests at the same time

    @property
    def outstanding(self) -> int:
        """Jobs that have not ended."""
        ...

    def submit(self, job: TraineeJob) -> None:
        """Carry the job out once there is room."""
        ...

    def poll(self) -> list[Ended]:
        """The jobs that ended since the last call, their rows in place; never waits."""
        ...

    def close(self) -> None:
        """Give up what is not finished."""
        ...


class HeldOut:
    """The held-out tests of one run; does nothing where no environment is configured."""

    def __init__(
        self,
        run_dir: Path,
        options: HeldOutOptions,
        trials: Callable[[Candidate], list[TraineeJob]],
        runner: Runner,
        record: Callable[[MetricsRow], None],
        moment: Callable[[], Moment],
    ) -> None:
        """`trials` says which new agents a candidate has to train, `runner` trains them.

        `record` takes rows for the run's metrics; `moment` says where the run is. Candidates
        up to the moment's version, kept by the run that is resumed, go on.
        """
        self._run_dir, self._options = run_dir, options
        self._trials, self._runner = trials, runner
        self._rows = HeldOutRows(run_dir, options, record, moment)
        self._due = float("-inf")
        self._failures: Counter[TraineeJob] = Counter()
        self._returns: dict[int, dict[str, float | None]] = {}  # of the versions that are scored
        self._standing = Standing({}, None, 0)
        self._candidates: list[Candidate] = []
        if self._options.eval_envs:
            self._rows.read()
            for candidate in kept_candidates(run_dir, moment().version):
                self._take(candidate)

    @property
    def waiting(self) -> int:
        """Tests that are not finished."""
        return self._runner.outstanding

    @property
    def stop(self) -> bool:
        """Whether meta-training should end: no better version for `eval_patience` tested ones."""
        patience = self._options.eval_patience
        return 0 < patience <= self._standing.without_progress

    def due(self, before: int, version: int) -> bool:
        """Whether a version on the way from `before` to `version` is one to test."""
        every = self._options.eval_every
        return bool(self._options.eval_envs) and version // every > before // every

    def request(self, snapshot: ObjectiveSnapshot) -> None:
        """Have a version of alpha tested, unless it is already; a full disk is only logged."""
        known = any(candidate.version == snapshot.version for candidate in self._candidates)
        if known or not self._options.eval_envs:
            return
        try:
            self._take(keep_candidate(self._run_dir, snapshot))
        except OSError as error:
            logger.warning("version %d is not tested: %s", snapshot.version, error.strerror)

    def poll(self) -> None:
        """Take in results; called every round, and looks at the processes once a second."""
        now = time.monotonic()
        if now < self._due or not self._options.eval_envs:
            return
        self._due = now + POLL_SECONDS
        try:
            ends = self._runner.poll()
        except OSError as error:  # no memory or disk for another process: try again
            logger.warning("held-out tests: %s", error.strerror or error)
            return
        for end in ends:
            if end.failure:
                self._failed(end)
        if ends:
            self._score()

    def finish(self, between: Callable[[int], None]) -> None:
        """Wait for the tests that are left; now and then `between` hears how many they are.

        Where patience has come to its end, what is left is of no use and is left alone.
        """
        if self.waiting and not self.stop:
            logger.warning(
                "%d held-out tests are left; interrupt to leave them to --resume", self.waiting
            )
        while self.waiting and not self.stop:
            time.sleep(POLL_SECONDS)
            self.poll()
            between(self.waiting)

    def close(self) -> None:
        """End the processes; a resumed run goes on with their tests."""
        self._runner.close()

    def _take(self, candidate: Candidate) -> None:
        self._candidates.append(candidate)
        for job in self._trials(candidate):
            if result(job) is None:
                job.rows.parent.mkdir(exist_ok=True)
                self._runner.submit(job)
        self._score()

    def _failed(self, end: Ended) -> None:
        job = end.job
        self._failures[job] += 1
        logger.info("what the test logged last:\n%s", end.detail)
        again = self._failures[job] < TRIES
        message = f"{job.label} in {job.env}, seed {job.seed}: {end.failure}; "
        message += f"begun anew ({self._failures[job]}/{TRIES - 1})" if again else "given up"
        logger.warning("held-out test: %s", message)
        self._rows.event("test restarted" if again else GIVEN_UP, message)
        if again:
            self._runner.submit(job)

    def _score(self) -> None:
        """Turn the candidates that are complete, up to the first that is not, into rows."""
        for candidate in self._candidates[len(self._returns) :]:
            if self.stop:  # what the decision was made on stays all that it was made on
                break
            jobs = self._trials(candidate)
            results = [result(job) for job in jobs]
            given_up = [self._failures[job] >= TRIES for job in jobs]
            if not all(r or gone for r, gone in zip(results, given_up, strict=True)):
                break
            self._complete(candidate, jobs, results)
        self._rows.mark_best(self._standing)

    def _complete(
        self, candidate: Candidate, jobs: list[TraineeJob], results: list[EvaluationRow | None]
    ) -> None:
        by_env: dict[str, float | None] = {}
        for env in self._options.eval_envs:
            of_env = [r for job, r in zip(jobs, results, strict=True) if job.env == env]
            there = [row for row in of_env if row is not None]
            by_env[env] = mean_return(there) if len(there) == len(of_env) else None
            for row in there:
                self._rows.trial(candidate, row)
        self._returns[candidate.version] = by_env
        self._standing = standing(self._returns, self._options.eval_envs)
        self._rows.score(candidate, by_env, self._standing)
