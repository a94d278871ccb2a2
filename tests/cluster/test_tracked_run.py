"""Whole runs that are tracked and tested beside, against the same runs that are not."""

import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from metagenrl.cluster.held_out_trials import FIRST_SEED
from metagenrl.cluster.metrics import read_metrics
from metagenrl.cluster.resolve import test_config as resolve_test
from metagenrl.cluster.tested_objective import objective_of_test
from metagenrl.cluster.wandb_account import wandb_id
from metagenrl.objective_server.find import find_snapshot, read_best
from metagenrl.objective_server.snapshot import ObjectiveSnapshot

TINY = "--preset quickstart --engine inprocess --hidden-units 16 --batch-size 8 --random-steps 60"
TINY += " --learning-starts 40 --agents 2 --envs Pendulum-v1 InvertedDoublePendulum-v5"
TINY += " --lifetime 0 --checkpoint-every 100 --snapshot-every 50 --log-every 50 --steps 300"
HELD_OUT = "--eval-envs InvertedPendulum-v5 --eval-every 60 --eval-seeds 2 --eval-steps 60"
HELD_OUT += " --eval-episodes 2 --eval-workers 2"
SHOWN = ["--wandb", "offline", "--tensorboard"]
HIDDEN = ["--wandb", "disabled"]


def command(*words: object) -> list[str]:
    code = "from metagenrl.cluster.main import main; main()"
    return [sys.executable, "-c", code, *map(str, words)]


def environment(home: Path) -> dict[str, str]:
    """Nobody's account at Weights & Biases."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    folders = {
        name: str(home) for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR")
    }
    return kept | folders | {"NETRC": str(home / "netrc")}


def train(run_dir: Path, *words: str) -> subprocess.CompletedProcess[str]:
    line = command("train", *TINY.split(), "--run-dir", run_dir, *words)
    return subprocess.run(
        line, capture_output=True, text=True, timeout=400, check=True,
        env=environment(run_dir.parent),
    )  # fmt: skip


def last(run_dir: Path) -> ObjectiveSnapshot:
    return ObjectiveSnapshot.load(find_snapshot(run_dir, "last"))


def results(run_dir: Path) -> dict[str, bytes]:
    """What every new agent did, by version, alpha, environment and seed."""
    files = sorted((run_dir / "held_out").glob("version-*/*/seed-*.jsonl"))
    return {str(file.relative_to(run_dir)): file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("plain") / "run"
    train(run_dir, *HIDDEN)
    return run_dir


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("tracked") / "run"
    done = train(run_dir, *HELD_OUT.split(), *SHOWN)
    assert f"wandb sync {run_dir}/wandb/offline-run-*" in done.stdout + done.stderr
    return run_dir


def test_nothing_that_watches_changes_a_bit(plain: Path, tracked: Path) -> None:
    assert np.array_equal(last(plain).alpha, last(tracked).alpha)
    alone, watched = read_metrics(plain), read_metrics(tracked)
    assert [(r.agent, r.steps, r.return_mean, r.q) for r in alone.agents] == [
        (r.agent, r.steps, r.return_mean, r.q) for r in watched.agents
    ]
    assert [(r.version, r.gradient_norm) for r in alone.objective] == [
        (r.version, r.gradient_norm) for r in watched.objective
    ]


def test_nothing_to_watch_leaves_nothing_behind(plain: Path) -> None:
    assert not {"wandb", "tensorboard", "held_out"} & {path.name for path in plain.iterdir()}
    metrics = read_metrics(plain)
    assert (metrics.held_out, metrics.scores) == ([], [])
    assert metrics.system[-1].rss > metrics.system[-1].rss_driver * 0.9


def test_versions_are_tested_from_the_first_to_the_last(tracked: Path) -> None:
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
    assert tested.label == f"learned objective v{noted['version']}"
    assert not tested.seen or tested.facts["environments"]


Shown = Callable[[str, str], dict[float, float]]


@pytest.fixture
def shown(tracked: Path, offline_runs: Callable[[Path], dict[str, Any]]) -> Shown:
    """A key's values by those of another one, as the population's run has them."""
    run = offline_runs(tracked)[wandb_id(run_id(tracked))]
    return run.shown


def run_id(run_dir: Path) -> str:
    return str(json.loads((run_dir / "run.json").read_bytes())["id"])


def test_the_offline_file_says_of_each_agent_what_the_metrics_say(
    tracked: Path, shown: Shown
) -> None:
    fields = {
        "return": "return_mean", "q": "q", "td_loss": "td_loss", "lag": "lag",
        "gradient_norm": "gradient_norm", "restarts": "restarts",
    }  # fmt: skip
    for agent in (0, 1):
        rows = [row for row in read_metrics(tracked).agents if row.agent == agent]
        prefix = f"agent/{agent:02d}"
        for key, field in fields.items():
            wanted = {r.steps: getattr(r, field) for r in rows if getattr(r, field) is not None}
            assert wanted
            assert shown(f"{prefix}/{key}", f"{prefix}/steps") == pytest.approx(wanted), key


def test_the_offline_file_says_of_the_population_what_the_metrics_say(
    tracked: Path, shown: Shown
) -> None:
    """One agent an environment: its latest return is every statistic of its environment."""
    rows = read_metrics(tracked).agents
    for agent, env in enumerate(("Pendulum-v1", "InvertedDoublePendulum-v5")):
        returns = {r.round: r.return_mean for r in rows if r.agent == agent and r.return_mean}
        for statistic in ("iqm", "median", "q25", "q75"):
            values = shown(f"population/{env}/return_{statistic}", "_step")
            assert {r: v for r, v in values.items() if r in returns} == pytest.approx(returns)
    learning = {
        row.round: sum(r.state == "learning" for r in rows if r.round == row.round) for row in rows
    }
    assert shown("population/learning", "_step") == learning
    assert set(shown("population/restarts", "steps").values()) == {0}


def test_the_offline_file_says_of_the_objective_what_the_metrics_say(
    tracked: Path, shown: Shown
) -> None:
    tenth = [row for row in read_metrics(tracked).objective if row.version % 10 == 0]
    fields = {
        "meta/gradient_norm": "gradient_norm", "meta/update_norm": "update_norm",
        "meta/cosine": "cosine", "meta/contributors": "contributors", "meta/accepted": "accepted",
        "meta/stale": "stale", "meta/rejected": "rejected", "meta/duplicate": "duplicate",
        "objective/norm": "alpha_norm",
    }  # fmt: skip
    for key, field in fields.items():
        wanted = {row.version: getattr(row, field) for row in tenth}
        assert shown(key, "objective/version") == pytest.approx(wanted), key
    by_env = tenth[0].cosine_by_env
    for env in by_env:
        wanted = {row.version: row.cosine_by_env[env] for row in tenth}
        assert shown(f"meta/cosine/{env}", "objective/version") == pytest.approx(wanted)
    assert set(shown("meta/gradient_norm", "steps")) == {row.agent_steps / 2 for row in tenth}


def test_the_offline_file_says_of_tests_and_machine_what_the_metrics_say(
    tracked: Path, shown: Shown
) -> None:
    metrics = read_metrics(tracked)
    scores = {row.agent_steps / 2: row.score for row in metrics.scores}
    assert shown("heldout/InvertedPendulum-v5/return", "heldout/steps") == pytest.approx(scores)
    best = {row.agent_steps / 2: row.best_version for row in metrics.scores}
    assert shown("heldout/best_version", "heldout/steps") == best
    for key, field in {
        "system/rss": "rss", "system/agent_steps_per_s": "agent_steps_per_s",
        "server/lag": "lag_mean", "server/lag_max": "lag_max",
    }.items():  # fmt: skip
        wanted = {r.time / 3600: getattr(r, field) for r in metrics.system}
        wanted = {hours: value for hours, value in wanted.items() if value is not None}
        assert shown(key, "system/hours") == pytest.approx(wanted), key


def test_lineage_leads_from_the_run_over_a_version_to_the_tests_that_used_it(
    tracked: Path, tmp_path: Path, offline_runs: Callable[[Path], dict[str, Any]]
) -> None:
    """Held-out tests and `metagenrl test`: all know the version by the same digest."""
    test = tmp_path / "test"
    words = f"--objective {tracked} --version best --env Pendulum-v1 --seeds 1 --steps 60"
    words += f" --eval-every 30 --eval-episodes 1 --run-dir {test} --wandb offline"
    done = subprocess.run(
        command("test", *words.split()), capture_output=True, text=True, timeout=400, check=True,
        env=environment(tracked.parent),
    )  # fmt: skip
    assert f"wandb sync {test}/wandb/offline-run-*" in done.stdout
    runs, group = offline_runs(tracked), wandb_id(run_id(tracked))
    made = {a.digest: a for a in runs[group].artifacts() if not a.name.startswith("objective-best")}
    used = runs[f"{group}-held-out"].artifacts()
    versions = [json.loads(artifact.metadata)["version"] for artifact in used]
    assert versions == [row.version for row in read_metrics(tracked).scores]
    (tested,) = offline_runs(test).values()
    (of_test,) = tested.artifacts()
    noted = read_best(tracked)
    assert noted is not None
    assert json.loads(of_test.metadata)["version"] == noted["version"]
    for artifact in (*used, of_test):
        assert artifact.use_after_commit
        assert artifact.name == made[artifact.digest].name
        assert "latest" not in artifact.aliases
    assert (tested.run.run_group, tested.run.job_type) == (group, "test")
    assert tested.config["tested"]["rule"] == "learned"
    rows = [json.loads(line) for line in (test / "evaluations.jsonl").read_text().splitlines()]
    returns = {row["steps"]: row["return_mean"] for row in rows}
    assert tested.shown("test/Pendulum-v1/return_mean", "test/steps") == pytest.approx(returns)


def test_tensorboard_says_what_the_metrics_say(tracked: Path) -> None:
    from tensorboardX.proto.event_pb2 import Event

    (file,) = tracked.glob("tensorboard/events.out.tfevents.*")
    data, at, shown = file.read_bytes(), 0, {}
    while at < len(data):
        (length,) = struct.unpack("<Q", data[at : at + 8])
        event = Event.FromString(data[at + 12 : at + 12 + length])
        shown |= {(v.tag, event.step): v.simple_value for v in event.summary.value}
        at += 16 + length
    for row in read_metrics(tracked).agents:
        if row.return_mean is not None:
            value = shown[f"agent/{row.agent:02d}/return", row.steps]
            assert value == pytest.approx(row.return_mean)


def wait_for(condition: Any, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_a_killed_run_has_every_test_once_and_the_same_results(
    tracked: Path, tmp_path: Path
) -> None:
    """SIGKILL of the driver while tests are under way; their processes end with it."""
    run_dir = tmp_path / "run"
    words = command("train", *TINY.split(), "--run-dir", run_dir, *HELD_OUT.split(), *HIDDEN)
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        folder = run_dir / "checkpoints"
        wait_for(lambda: folder.exists() and any(folder.glob("round-*")))
        wait_for(lambda: any((run_dir / "held_out").glob("version-*/*/seed-*.jsonl")))
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    resumed = command("train", "--resume", run_dir)
    subprocess.run(resumed, capture_output=True, timeout=300, check=True)
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
    tmp_path: Path,
) -> None:
    run_dir = tmp_path / "run"
    words = [
        *HELD_OUT.split(),
        *HIDDEN,
        "--eval-patience",
        "1",
        "--eval-every",
        "5",
        "--steps",
        "100000",
    ]
    train(run_dir, *words)
    scores = read_metrics(run_dir).scores
    assert scores[-1].best_version == scores[-2].version  # one version without a better one
    assert all(row.best_version == row.version for row in scores[:-1])
    noted = read_best(run_dir)
    assert noted is not None
    assert noted["version"] == scores[-1].best_version
    steps = max(row.steps for row in read_metrics(run_dir).agents)
    assert steps < 100_000
    newest = max((run_dir / "checkpoints").glob("round-*")).name
    done = command("train", "--resume", run_dir)
    subprocess.run(done, capture_output=True, timeout=300, check=True)
    assert max((run_dir / "checkpoints").glob("round-*")).name == newest
    assert max(row.steps for row in read_metrics(run_dir).agents) == steps
