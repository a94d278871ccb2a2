"""`--backend` and `--device`: refusals, whole runs against runs of agents one after the other."""

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures import forks

from metagenrl.agents.backend.choice import Computing
from metagenrl.cluster.engines.plan import cohort_plan, computing_of
from metagenrl.cluster.engines.ray_cluster import gpu_share
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
    # Bits are compared: no deadline of the run's passes on a busy machine.
    "--round-timeout", "3600", "--env-timeout", "3600", "--env-start-timeout", "3600",
]  # fmt: skip
PLAIN = ["--engine", "inprocess", "--agents-per-actor", "auto"]
STACKED = [*PLAIN, "--backend", "reference"]


def _command(*words: str) -> None:
    forks.run([*forks.METAGENRL, *words], capture_output=True, text=True, timeout=1800, check=True)


def _train(run_dir: Path, *extra: str) -> Path:
    _command(*TINY, "--run-dir", str(run_dir), *extra)
    return run_dir


def _alpha(run_dir: Path, version: int | str) -> np.ndarray:
    return ObjectiveSnapshot.load(find_snapshot(run_dir, version)).alpha


def _near(run: Path, other: Path, version: int, last: int) -> bool:
    """Equal but for rounding, measured by what alpha moved since `version`.

    Adam's first steps go by the sign of a coordinate, so the bound is for most of them.
    """
    moved = np.abs(_alpha(other, last) - _alpha(other, version)).max()
    apart = np.abs(_alpha(run, last) - _alpha(other, last))
    return bool(np.quantile(apart, 0.99) < 1e-3 * moved)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """The same short run in both ways."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        "plain": _train(folder / "plain", *PLAIN, "--steps", "200"),
        "stacked": _train(folder / "stacked", *STACKED, "--steps", "200"),
    }


def test_a_stacked_run_is_the_plain_one_within_rounding(runs) -> None:
    assert _near(runs["stacked"], runs["plain"], 2, 4)
    stacked, plain = (read_metrics(runs[name]) for name in ("stacked", "plain"))
    assert [row.version for row in stacked.objective] == [row.version for row in plain.objective]
    assert [(r.agent, r.steps, r.life) for r in stacked.agents] == [
        (r.agent, r.steps, r.life) for r in plain.agents
    ]
    assert max(row.life for row in plain.agents) >= 1, "no lifetime ended: the test shows less"
    assert not np.array_equal(_alpha(runs["stacked"], "last"), _alpha(runs["plain"], "last"))


@pytest.mark.parametrize("first", ["plain", "stacked"])
def test_a_run_goes_on_in_the_other_way(runs, tmp_path, first) -> None:
    words = {"plain": PLAIN, "stacked": STACKED}
    run = _train(tmp_path / "run", *words[first], "--steps", "100")
    other = "auto" if first == "stacked" else "reference"
    _command("train", "--resume", str(run), "--backend", other, "--steps", "200")
    versions = [row.version for row in read_metrics(run).objective]
    assert versions == [row.version for row in read_metrics(runs[first]).objective]
    assert {(row.agent, row.steps) for row in read_metrics(run).agents} >= {
        (agent, 200) for agent in range(5)
    }
    assert np.array_equal(_alpha(run, 4), _alpha(runs[first], 4))
    switch = (versions[-1] - 50) // 2 * 2  # after 100 of 200 steps, two steps a version
    assert _near(run, runs[first], switch, switch + 4)


def test_a_killed_stacked_run_is_resumed_with_the_same_bits(runs, tmp_path) -> None:
    killed = tmp_path / "killed"
    argv = [*forks.METAGENRL, *TINY, "--run-dir", str(killed), *STACKED, "--steps", "200"]
    with forks.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 900
        while not list(killed.glob("checkpoints/round-*")) and process.poll() is None:
            assert time.monotonic() < deadline, "no checkpoint in time"
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
    ends = [read_metrics(run).objective[-1].version for run in (killed, runs["stacked"])]
    assert ends[0] < ends[1], "it was over before it was killed"
    _command("train", "--resume", str(killed))
    assert np.array_equal(_alpha(killed, "last"), _alpha(runs["stacked"], "last"))


@pytest.mark.slow
def test_on_ray_with_workers_the_same_bits(runs, tmp_path) -> None:
    words = ["--agents-per-actor", "3", "--backend", "reference", "--env-workers", "2"]
    run = _train(tmp_path / "ray", *words, "--steps", "200")
    assert np.array_equal(_alpha(run, "last"), _alpha(runs["stacked"], "last"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--backend torch", "--backend: got 'torch', allowed: auto, reference, native"),
        (
            "--backend native --hidden-units 136",
            "backend: got 'native', allowed: auto, reference for",
        ),
        ("--backend native --device cuda", "backend: got 'native', allowed: auto, reference on"),
        ("--env-workers -1", "env_workers: got -1"),
        ("--device gpu", "--device: got 'gpu', allowed: cpu, cuda"),
    ],
)
def test_what_a_backend_does_not_have_is_refused(refusal, words, expected) -> None:
    assert expected in refusal(f"train {words}")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("engine", ["inprocess", "ray"])
def test_without_a_gpu_cuda_is_refused_before_anything_is_started(tmp_path, engine) -> None:
    words = ["train", "--device", "cuda", "--agents-per-actor", "auto", "--engine", engine]
    folder = tmp_path / "run"
    argv = [*forks.METAGENRL, *words, "--run-dir", str(folder)]
    done = forks.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "error: device: got 'cuda'" in done.stderr  # a killed Ray may be named before it
    assert done.stderr.count("\n") == 1
    assert not folder.exists()


@pytest.mark.parametrize(
    ("actors", "gpus", "share"),
    [(1, 1, 1.0), (2, 1, 0.5), (3, 2, 0.5), (6, 1, 0.1666), (1, 8, 1.0)],
)
def test_actors_share_gpus_and_none_is_split(actors, gpus, share) -> None:
    assert gpu_share(actors, gpus) == pytest.approx(share)
    assert int(1 / gpu_share(actors, gpus)) * gpus >= actors


def test_a_gpu_needs_a_cluster_that_has_one() -> None:
    with pytest.raises(ValueError, match="device: got 'cuda'"):
        gpu_share(2, 0)


def test_environments_get_workers_where_a_gpu_would_wait_for_them() -> None:
    common = {"agents_per_actor": "auto", "backend": "reference"}
    for given, device, workers in [("auto", "cuda", 7), ("auto", "cpu", 0), (3, "cpu", 3)]:
        config = TrainConfig(device=device, env_workers=given, **common)
        assert computing_of(config, 8) == Computing("reference", device, workers)
    assert computing_of(TrainConfig(), 8) == Computing()


def test_auto_makes_one_cohort_an_environment_of_one_gpu() -> None:
    config = TrainConfig(envs=("a", "b"), agents=6, agents_per_actor="auto", device="cuda")
    assert cohort_plan(config.seating, "auto", 1) == ((0, 2, 4), (1, 3, 5))
