"""Agents in cohorts: who shares, the same results, real actors killed."""

import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from fixtures import forks
from fixtures.processes import actors

from metagenrl.cluster.engines.plan import cohort_plan
from metagenrl.objective_server.snapshots.find import find_snapshot
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.metrics_file import read_metrics

TINY = [
    "train", "--preset", "quickstart", "--hidden-units", "16", "--batch-size", "8",
    "--learning-starts", "40", "--random-steps", "60", "--agents", "5",
    "--envs", "Pendulum-v1", "InvertedDoublePendulum-v5",
    "--lifetime", "150", "--lifetime-random-steps", "50", "--learning-rate-decay", "none",
    "--wandb", "disabled", "--checkpoint-every", "50", "--snapshot-every", "2",
]  # fmt: skip


def _train(run_dir: Path, *extra: str) -> Path:
    argv = [*forks.METAGENRL, *TINY, "--run-dir", str(run_dir), *extra]
    forks.run(argv, capture_output=True, text=True, timeout=280, check=True)
    return run_dir


def _alpha(run_dir: Path, version: int | str) -> np.ndarray:
    return ObjectiveSnapshot.load(find_snapshot(run_dir, version)).alpha


def _config(agents: int, environments: int, size: int | str) -> TrainConfig:
    envs = tuple(f"env-{i}" for i in range(environments))
    return TrainConfig(envs=envs, agents=agents, agents_per_actor=size)


@pytest.mark.parametrize(
    ("config", "cores", "plan"),
    [
        (_config(3, 2, 1), 2, ((0,), (1,), (2,))),
        (_config(5, 2, 2), 2, ((0, 2), (1, 3), (4,))),
        (_config(5, 2, 99), 2, ((0, 2, 4), (1, 3))),
        (_config(6, 2, "auto"), 2, ((0, 2, 4), (1, 3, 5))),
        (_config(6, 2, "auto"), 4, ((0, 2), (1, 3), (4,), (5,))),
        (_config(6, 2, "auto"), 1, ((0, 2, 4), (1, 3, 5))),
        (_config(4, 1, "auto"), 64, ((0,), (1,), (2,), (3,))),
    ],
)
def test_cohorts_share_an_environment_and_auto_keeps_the_cores_busy(config, cores, plan) -> None:
    assert cohort_plan(config.seating, config.agents_per_actor, cores) == plan


@pytest.mark.parametrize("given", ["0", "2.5", "many"])
def test_a_wrong_size_is_refused(refusal, given) -> None:
    line = refusal(f"train --agents-per-actor {given}")
    assert "agents" in line
    assert given in line
    assert "auto" in line


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("alone") / "run"
    return _train(folder, "--engine", "inprocess", "--steps", "200")


def test_results_do_not_depend_on_the_cohorts_beyond_rounding(alone, tmp_path) -> None:
    run = _train(tmp_path / "run", "--engine", "inprocess", "--steps", "200",
                 "--agents-per-actor", "auto")  # fmt: skip
    moved = np.abs(_alpha(alone, 4) - _alpha(alone, 2)).max()
    # Adam's first steps go by the sign of a coordinate, so the bound is for most of them
    apart = np.abs(_alpha(run, 4) - _alpha(alone, 4))
    assert np.quantile(apart, 0.99) < 1e-3 * moved
    assert [row.version for row in read_metrics(run).objective] == [
        row.version for row in read_metrics(alone).objective
    ]
    first, other = read_metrics(alone).objective[0], read_metrics(run).objective[0]
    assert other.cosine == pytest.approx(first.cosine, rel=1e-4)
    assert {row.agent for row in read_metrics(run).agents} == set(range(5))


def test_a_killed_run_in_cohorts_is_resumed_with_the_same_bits(tmp_path) -> None:
    words = ["--engine", "inprocess", "--agents-per-actor", "auto", "--steps", "200"]
    whole, killed = _train(tmp_path / "whole", *words), tmp_path / "killed"
    argv = [*forks.METAGENRL, *TINY, "--run-dir", str(killed), *words]
    with forks.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not list(killed.glob("checkpoints/round-*")) and process.poll() is None:
            assert time.monotonic() < deadline, "no checkpoint in time"
            time.sleep(0.005)
        process.kill()
    (reached, end) = (read_metrics(run).objective[-1].version for run in (killed, whole))
    assert reached < end, "it was over before it was killed"
    argv = [*forks.METAGENRL, "train", "--resume", str(killed)]
    forks.run(argv, capture_output=True, text=True, timeout=280, check=True)
    assert np.array_equal(_alpha(killed, "last"), _alpha(whole, "last"))
    assert [(row.agent, row.steps, row.return_mean) for row in read_metrics(killed).agents] == [
        (row.agent, row.steps, row.return_mean) for row in read_metrics(whole).agents
    ]


@pytest.mark.slow
def test_on_ray_the_same_bits_and_a_killed_cohort_comes_back(tmp_path) -> None:
    inprocess = _train(tmp_path / "a", "--engine", "inprocess", "--agents-per-actor", "3",
                       "--steps", "100")  # fmt: skip
    run_dir = tmp_path / "b"
    words = ["--agents-per-actor", "3", "--steps", "600"]
    argv = [*forks.METAGENRL, *TINY, "--run-dir", str(run_dir), *words]
    with forks.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 120
            while not list(run_dir.glob("checkpoints/round-000000050")):
                assert time.monotonic() < deadline, "no checkpoint in time"
                assert process.poll() is None
                time.sleep(0.02)
            cohorts = actors(process.pid, "CohortActor")
            assert len(cohorts) == 2
            cohorts[0].kill()
            assert process.wait(timeout=200) == 0
        finally:
            process.kill()
    version = read_metrics(inprocess).objective[-1].version // 2 * 2
    assert np.array_equal(_alpha(run_dir, version), _alpha(inprocess, version))
    metrics = read_metrics(run_dir)
    restarts = [row for row in metrics.events if row.what == "restarted"]
    assert len({row.agent for row in restarts}) == len(restarts), "an agent was lost twice"
    assert len(restarts) in (2, 3), "a cohort's agents are lost together"
    versions = [row.version for row in metrics.objective]
    assert versions == list(range(1, versions[-1] + 1)), "a version was lost or applied twice"
    assert {row.agent for row in metrics.agents if row.steps == 600} == set(range(5))
