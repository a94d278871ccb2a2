"""Held-out tests beside a whole run: complete, once each, and at an end where patience ends."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures import forks

from metagenrl.cluster.held_out.trials import FIRST_SEED
from metagenrl.commands.resolve import test_config as resolve_test
from metagenrl.meta_test.tested_objective import objective_of_test
from metagenrl.objective_server.snapshots.find import read_best
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.runs.metrics_file import read_metrics

HIDDEN = ["--wandb", "disabled"]

Command = Callable[..., list[str]]
Last = Callable[[Path], ObjectiveSnapshot]


def results(run_dir: Path) -> dict[str, bytes]:
    """What every new agent did, by version, alpha, environment and seed."""
    files = sorted((run_dir / "held_out").glob("version-*/*/seed-*.jsonl"))
    return {str(file.relative_to(run_dir)): file.read_bytes() for file in files}


def test_versions_are_tested_from_the_first_to_the_last(tracked: Path, last: Last) -> None:
    metrics, final = read_metrics(tracked), last(tracked).version
    assert [row.version for row in metrics.scores] == [0, 60, 120, final]
    assert [(row.version, row.seed) for row in metrics.held_out] == [
        (row.version, seed) for row in metrics.scores for seed in (FIRST_SEED, FIRST_SEED + 1)
    ]
    for row in metrics.scores:
        returns = [r.return_mean for r in metrics.held_out if r.version == row.version]
        assert row.score == pytest.approx(sum(returns) / 2)
    scores = {row.version: row.score for row in metrics.scores}
    best = max(scores, key=lambda version: (scores[version], -version))
    noted = read_best(tracked)
    assert noted is not None
    assert (noted["version"], noted["score"]) == (best, scores[best])


def test_the_best_version_is_what_a_test_takes(tracked: Path, tmp_path: Path) -> None:
    noted = read_best(tracked)
    assert noted is not None
    words = f"--objective {tracked} --version best --env Pendulum-v1 --run-dir {tmp_path / 't'}"
    tested = objective_of_test(resolve_test(words.split()))
    kind = "learned" if noted["version"] else "untrained"
    assert tested.label == f"{kind} objective v{noted['version']}"
    assert tested.seen
    assert tested.environments == ("Pendulum-v1", "InvertedDoublePendulum-v5")


def wait_for(condition: Any, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_a_killed_run_has_every_test_once_and_the_same_results(
    tracked: Path, tmp_path: Path, command: Command, tiny: list[str], held_out: list[str],
    last: Last,
) -> None:  # fmt: skip
    """SIGKILL of the driver while tests are under way; their processes end with it."""
    run_dir = tmp_path / "run"
    words = command("train", *tiny, *held_out, *HIDDEN, "--run-dir", run_dir)
    process = forks.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        folder = run_dir / "checkpoints"
        wait_for(lambda: folder.exists() and any(folder.glob("round-*")))
        wait_for(lambda: any((run_dir / "held_out").glob("version-*/*/seed-*.jsonl")))
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    resumed = command("train", "--resume", run_dir)
    forks.run(resumed, capture_output=True, timeout=300, check=True)
    assert np.array_equal(last(run_dir).alpha, last(tracked).alpha)
    assert results(run_dir) == results(tracked)
    found, wanted = read_metrics(run_dir), read_metrics(tracked)
    assert [(r.version, r.env, r.seed, r.returns) for r in found.held_out] == [
        (r.version, r.env, r.seed, r.returns) for r in wanted.held_out
    ]
    assert [(r.version, r.score, r.best_version) for r in found.scores] == [
        (r.version, r.score, r.best_version) for r in wanted.scores
    ]
    assert read_best(run_dir) == read_best(tracked)


def test_patience_ends_meta_training_with_a_checkpoint_and_a_resume_ends_at_once(
    metagenrl: Callable[..., Any], tiny: list[str], held_out: list[str], tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    words = ["--agents", "2", "--eval-patience", "1", "--eval-every", "5", "--steps", "100000"]
    metagenrl("train", *tiny, *held_out, *HIDDEN, *words, "--run-dir", run_dir)
    scores = read_metrics(run_dir).scores
    assert scores[-1].best_version == scores[-2].version  # one version without a better one
    assert all(row.best_version == row.version for row in scores[:-1])
    noted = read_best(run_dir)
    assert noted is not None
    assert noted["version"] == scores[-1].best_version
    steps = max(row.steps for row in read_metrics(run_dir).agents)
    assert steps < 100_000
    newest = max((run_dir / "checkpoints").glob("round-*")).name
    metagenrl("train", "--resume", run_dir)
    assert max((run_dir / "checkpoints").glob("round-*")).name == newest
    assert max(row.steps for row in read_metrics(run_dir).agents) == steps
