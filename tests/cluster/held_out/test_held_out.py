"""Held-out tests: what is begun, recorded and chosen, also after kills. The agents are made up."""

import errno
import functools
from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metagenrl.cluster.held_out import tests as held_out_module
from metagenrl.cluster.held_out.tests import HeldOut
from metagenrl.cluster.held_out.trials import (
    FIRST_SEED,
    NICENESS,
    kept_candidates,
    mean_return,
    trials,
)
from metagenrl.meta_test.pool import Ended
from metagenrl.objective_server.snapshots.find import find_snapshot, read_best, snapshot_path
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.runs.agent_job import TraineeJob
from metagenrl.runs.config.held_out import HeldOutOptions
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import to_dict
from metagenrl.runs.metrics_file import MetricsWriter, read_metrics
from metagenrl.runs.names import METRICS_FILE
from metagenrl.runs.row_codec import to_line
from metagenrl.runs.rows import EvaluationRow, Moment

RETURNS = {0: -5.0, 10: 7.0, 20: 3.0, 30: 1.0}


@dataclass
class Made:
    """A runner whose agents reach `RETURNS` plus their index, in the order that `finish` says."""

    workers: int = 1
    jobs: deque[TraineeJob] = field(default_factory=deque)
    begun: list[tuple[int, int]] = field(default_factory=list)  # version, seed
    ends: list[Ended] = field(default_factory=list)

    @property
    def outstanding(self) -> int:
        return len(self.jobs) + len(self.ends)

    def submit(self, job: TraineeJob) -> None:
        self.begun.append((version_of(job), job.seed))
        self.jobs.append(job)

    def finish(self, *versions: int) -> None:
        for job in [job for v in versions for job in self.jobs if version_of(job) == v]:
            self.jobs.remove(job)
            value = RETURNS[version_of(job)] + job.seed - FIRST_SEED
            row = EvaluationRow(job.label, job.env, job.seed, job.steps, value, (value,))
            job.rows.write_text(to_line(row))
            self.ends.append(Ended(job))

    def fail(self) -> None:
        self.ends.append(Ended(self.jobs.popleft(), "killed", "traceback"))

    def poll(self) -> list[Ended]:
        ends, self.ends = self.ends, []
        return ends

    def close(self) -> None:
        self.jobs.clear()


def version_of(job: TraineeJob) -> int:
    return int(job.label.rpartition("v")[2])


class Run:
    """One process's share of a run."""

    def __init__(self, run_dir: Path, version: int = 0, **options: Any) -> None:
        settings: dict[str, Any] = {"eval_envs": ("E",), "eval_every": 10, "eval_seeds": 2}
        self.config = TrainConfig(
            run_dir=run_dir, held_out=HeldOutOptions(**settings | options), wandb="disabled"
        )
        self.version, self.runner = version, Made()
        self.writer = MetricsWriter(run_dir / METRICS_FILE)
        config = self.config
        self.held_out = HeldOut(
            run_dir, config.held_out,
            functools.partial(trials, config.held_out, config.agent, config.objective, 7.0),
            self.runner, lambda row: self.writer.write([row]), self.moment,
        )  # fmt: skip

    def moment(self) -> Moment:
        return Moment(1.0, self.version, self.version)

    def reach(self, version: int, alpha: float = 1.0) -> None:
        self.version = version
        values = np.full(4, alpha + version, np.float32)
        snapshot = ObjectiveSnapshot(
            values, version, to_dict(self.config.objective), ("E",), 2 * version, "r"
        )
        snapshot.save(snapshot_path(self.config.run_dir, version))
        self.held_out.request(snapshot)

    def poll(self) -> None:
        self.held_out.poll()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(held_out_module, "POLL_SECONDS", 0.0)
    (tmp_path / "objectives").mkdir()


def test_results_enter_in_the_order_of_versions_and_the_best_is_noted(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for version in (0, 10, 20):
        run.reach(version)
    run.runner.finish(10)
    run.poll()
    assert read_metrics(tmp_path).scores == []  # version 0 is not done
    run.runner.finish(0, 20)
    run.poll()
    metrics = read_metrics(tmp_path)
    assert [(row.version, row.score) for row in metrics.scores] == [(0, -4.5), (10, 7.5), (20, 3.5)]
    assert [row.best_version for row in metrics.scores] == [0, 10, 10]
    assert [(row.version, row.seed, row.return_mean) for row in metrics.held_out[:3]] == [
        (0, FIRST_SEED, -5.0), (0, FIRST_SEED + 1, -4.0), (10, FIRST_SEED, 7.0),
    ]  # fmt: skip
    assert metrics.held_out[2].agent_steps == 20
    best = read_best(tmp_path)
    assert best == {
        "version": 10, "score": 7.5, "metric": "mean return in E after 200000 steps, 2 seeds",
    }  # fmt: skip
    assert find_snapshot(tmp_path, "best") == snapshot_path(tmp_path, 10)


def test_new_agents_are_as_those_of_the_population_and_get_out_of_its_way(tmp_path: Path) -> None:
    options = {"eval_steps": 70_000, "eval_episodes": 4, "eval_timeout": 9.0, "eval_seeds": 1}
    run = Run(tmp_path, **options)
    run.reach(10)
    (job,) = run.runner.jobs
    assert (job.env, job.steps, job.eval_episodes) == ("E", 70_000, 4)
    assert (job.agent, job.objective.architecture) == (run.config.agent, run.config.objective)
    assert ObjectiveSnapshot.load(Path(job.objective.snapshot)).version == 10
    assert (job.niceness, job.timeout, job.start_timeout) == (NICENESS, 9.0, 7.0)


def test_an_agent_that_diverged_leaves_no_mean() -> None:
    one = EvaluationRow("l", "E", 0, 10, 4.0, (4.0,))
    assert mean_return([one, replace(one, return_mean=8.0)]) == 6.0
    assert mean_return([one, replace(one, return_mean=None)]) is None
    assert mean_return([]) is None


def test_versions_are_due_when_a_multiple_is_passed(tmp_path: Path) -> None:
    due = Run(tmp_path).held_out.due
    assert [due(v, v + 1) for v in (8, 9, 10)] == [False, True, False]
    assert due(8, 11)  # a version that nobody saw was in between
    assert due(-1, 0)
    assert not Run(tmp_path, eval_envs=()).held_out.due(9, 10)


def test_a_resumed_run_does_what_is_missing_and_nothing_twice(tmp_path: Path) -> None:
    first = Run(tmp_path)
    for version in (0, 10, 20):
        first.reach(version)
    first.runner.finish(0, 20)
    first.poll()
    first.writer.close()  # killed: 10 was under way, and 20's result is not in the rows yet
    again = Run(tmp_path, version=20)
    assert again.runner.begun == [(10, FIRST_SEED), (10, FIRST_SEED + 1)]
    again.reach(20)  # training comes past it again
    assert len(again.runner.begun) == 2
    again.runner.finish(10)
    again.poll()
    metrics = read_metrics(tmp_path)
    assert [row.version for row in metrics.scores] == [0, 10, 20]
    assert len({(row.version, row.seed) for row in metrics.held_out}) == len(metrics.held_out) == 6
    third = Run(tmp_path, version=20)
    assert third.runner.begun == []
    assert len(read_metrics(tmp_path).scores) == 3


def test_rows_that_a_resume_cut_off_come_back_from_the_tests_own_files(tmp_path: Path) -> None:
    first = Run(tmp_path)
    for version in (0, 10):
        first.reach(version)
        first.runner.finish(version)
        first.poll()
    first.writer.truncate_after(5)  # version 10 is of a later round than the checkpoint
    assert [row.version for row in read_metrics(tmp_path).scores] == [0]
    again = Run(tmp_path, version=5)
    assert again.held_out.waiting == 0
    again.reach(10)
    assert again.runner.begun == []
    metrics = read_metrics(tmp_path)
    assert [(row.version, row.score) for row in metrics.scores] == [(0, -4.5), (10, 7.5)]
    assert len(metrics.held_out) == 4


def test_another_alpha_of_the_same_version_is_tested_anew(tmp_path: Path) -> None:
    """As in an asynchronous run that was killed and computed version 10 again."""
    first = Run(tmp_path)
    first.reach(10)
    first.runner.finish(10)
    first.poll()
    again = Run(tmp_path, version=5)
    again.reach(10, alpha=2.0)
    assert again.runner.begun == [(10, FIRST_SEED), (10, FIRST_SEED + 1)]
    (candidate,) = kept_candidates(tmp_path, 10)
    assert ObjectiveSnapshot.load(candidate.alpha).alpha[0] == 12.0


def test_a_test_that_fails_is_begun_three_times_and_costs_only_its_version(tmp_path: Path) -> None:
    run = Run(tmp_path, eval_seeds=1)
    run.reach(0)
    for _ in range(3):
        assert read_metrics(tmp_path).scores == []
        run.runner.fail()
        run.poll()
    assert run.runner.begun == [(0, FIRST_SEED)] * 3
    run.reach(10)
    run.runner.finish(10)
    run.poll()
    assert [(r.version, r.score, r.best_version) for r in read_metrics(tmp_path).scores] == [
        (0, None, None), (10, 7.0, 10),
    ]  # fmt: skip


def test_patience_stops_the_run_and_a_resume_does_not_start_it_again(tmp_path: Path) -> None:
    run = Run(tmp_path, eval_patience=2)
    for version in (0, 10, 20, 30):
        assert not run.held_out.stop
        run.reach(version)
        run.runner.finish(version)
        run.poll()
    assert run.held_out.stop  # 20 and 30 were no better than 10
    RETURNS[40] = 99.0
    run.reach(40)
    run.runner.finish(40)
    run.held_out.finish(lambda left: None)  # returns, whatever is left
    assert [row.version for row in read_metrics(tmp_path).scores] == [0, 10, 20, 30]
    assert read_best(tmp_path)["version"] == 10
    assert Run(tmp_path, version=30, eval_patience=2).held_out.stop
    assert not Run(tmp_path, version=30, eval_patience=3).held_out.stop
    assert not Run(tmp_path, version=30).held_out.stop


def test_no_disk_for_a_candidate_is_a_line_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(held_out_module, "keep_candidate", full)
    run = Run(tmp_path)
    run.reach(0)
    assert run.runner.begun == []
    assert "version 0 is not tested: No space left on device" in caplog.text


def test_the_end_of_a_run_waits_for_the_tests(tmp_path: Path) -> None:
    run = Run(tmp_path, eval_seeds=1)
    run.reach(0)
    run.reach(10)
    waiting: list[int] = []

    def between(left: int) -> None:
        waiting.append(left)
        run.runner.finish(*(version_of(job) for job in list(run.runner.jobs)[:1]))

    run.held_out.finish(between)
    assert waiting == [2, 1, 0]
    assert [row.version for row in read_metrics(tmp_path).scores] == [0, 10]
