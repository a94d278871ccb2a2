"""The population on both engines: equal bits, real kills, exact resume."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fixtures import forks
from fixtures.processes import actors

from metagenrl.objective_server.snapshots.find import find_snapshot
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.runs.metrics_file import read_metrics

TINY = [
    "--preset",
    "quickstart",
    "--hidden-units",
    "16",
    "--batch-size",
    "8",
    "--learning-starts",
    "40",
    "--random-steps",
    "60",
    "--agents",
    "3",
    "--envs",
    "Pendulum-v1",
    "InvertedDoublePendulum-v5",
    "--lifetime",
    "150",
    "--lifetime-random-steps",
    "50",
    "--wandb",
    "disabled",
    "--checkpoint-every",
    "100",
    "--snapshot-every",
    "50",
    "--log-every",
    "50",
    "--round-timeout",  # bits are compared: no deadline of the run's passes on a busy machine
    "3600",
]


def command(run_dir: Path, *extra: str) -> list[str]:
    return [*forks.METAGENRL, "train", *TINY, "--run-dir", str(run_dir), *extra]


def train(run_dir: Path, *extra: str) -> subprocess.CompletedProcess[str]:
    return forks.run(
        command(run_dir, *extra), capture_output=True, text=True, timeout=1800, check=True
    )


def resume(run_dir: Path, *extra: str, cores: int | None = None) -> str:
    """Go on with a run, on so many of the cores that there are; what it printed."""
    code = forks.METAGENRL[-1]
    if cores is not None:
        allowed = sorted(os.sched_getaffinity(0))[:cores]
        code = f"import os; os.sched_setaffinity(0, {allowed}); {code}"
    argv = [sys.executable, "-c", code, "train", "--resume", str(run_dir), *extra]
    done = forks.run(argv, capture_output=True, text=True, timeout=1800, check=True)
    return done.stdout


def last(run_dir: Path) -> ObjectiveSnapshot:
    return ObjectiveSnapshot.load(find_snapshot(run_dir, "last"))


def wait_for(condition, seconds: float = 900.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def kill_after(run_dir: Path, checkpoints: int, *extra: str) -> None:
    """Start a run and SIGKILL its driver somewhere past so many checkpoints."""
    process = forks.Popen(
        command(run_dir, *extra), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        folder = run_dir / "checkpoints"
        wait_for(lambda: folder.exists() and len(list(folder.glob("round-*"))) >= checkpoints)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    """A run in one process that was never disturbed."""
    run_dir = tmp_path_factory.mktemp("reference") / "run"
    train(run_dir, "--engine", "inprocess", "--steps", "400")
    return run_dir


def test_run_folder_is_complete(reference):
    names = {path.name for path in reference.iterdir()}
    assert names >= {
        "config.yaml", "run.json", "run.log", "metrics.jsonl", "objectives", "checkpoints",
        "server", "curves.png",
    }  # fmt: skip
    metrics = read_metrics(reference)
    versions = [row.version for row in metrics.objective]
    assert versions == list(range(1, versions[-1] + 1))
    assert last(reference).version == versions[-1]
    assert {row.agent for row in metrics.agents} == {0, 1, 2}
    assert max(row.steps for row in metrics.agents) == 400
    births = [row for row in metrics.events if row.what == "rebirth"]
    assert {row.agent for row in births} == {0, 1, 2}
    assert all(row.life >= 1 for row in metrics.agents if row.steps > 350)


def test_same_seed_same_bits_and_another_seed_others(reference, tmp_path):
    train(tmp_path / "a", "--engine", "inprocess", "--steps", "400")
    assert np.array_equal(last(tmp_path / "a").alpha, last(reference).alpha)
    train(tmp_path / "b", "--engine", "inprocess", "--steps", "200", "--seed", "1")
    versions = min(last(tmp_path / "b").version, 50)
    other = ObjectiveSnapshot.load(find_snapshot(tmp_path / "b", versions))
    same = ObjectiveSnapshot.load(find_snapshot(reference, versions))
    assert not np.array_equal(other.alpha, same.alpha)


def test_killed_and_resumed_run_ends_bit_equal(reference, tmp_path):
    kill_after(tmp_path / "run", 1, "--engine", "inprocess", "--steps", "400")
    resume(tmp_path / "run")
    assert last(tmp_path / "run").version == last(reference).version
    assert np.array_equal(last(tmp_path / "run").alpha, last(reference).alpha)
    rows, wanted = read_metrics(tmp_path / "run"), read_metrics(reference)
    assert [r.version for r in rows.objective] == [r.version for r in wanted.objective]
    assert [(r.agent, r.steps, r.return_mean) for r in rows.agents] == [
        (r.agent, r.steps, r.return_mean) for r in wanted.agents
    ]


@pytest.mark.slow
def test_ray_gives_the_same_bits_also_when_killed_and_resumed_on_one_core(reference, tmp_path):
    train(tmp_path / "ray", "--engine", "ray", "--steps", "400")
    assert np.array_equal(last(tmp_path / "ray").alpha, last(reference).alpha)
    kill_after(tmp_path / "killed", 2, "--engine", "ray", "--steps", "400")
    said = resume(tmp_path / "killed", cores=1)
    if len(os.sched_getaffinity(0)) > 1:
        assert "goes on with cores 1 (was " in said
    assert np.array_equal(last(tmp_path / "killed").alpha, last(reference).alpha)


@pytest.mark.slow
def test_killed_actors_come_back(tmp_path):
    """SIGKILL an agent's and the server's process while a population trains."""
    run_dir = tmp_path / "run"
    process = forks.Popen(
        command(run_dir, "--engine", "ray", "--steps", "1200"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: (run_dir / "checkpoints").exists()
                 and list((run_dir / "checkpoints").glob("round-*")))  # fmt: skip
        for name in ("CohortActor", "ServerActor"):
            actors(process.pid, name)[0].kill()
            time.sleep(1.0)
        assert process.wait(timeout=900) == 0
    finally:
        process.kill()
    metrics = read_metrics(run_dir)
    restarts = [row for row in metrics.events if row.what == "restarted"]
    assert len(restarts) == 1
    assert "restarted (1/5) at step" in restarts[0].message
    assert "objective restored at version" in (run_dir / "run.log").read_text()
    versions = [row.version for row in metrics.objective]
    assert versions == list(range(1, versions[-1] + 1)), "a version was lost or applied twice"
    assert max(row.steps for row in metrics.agents) == 1200
