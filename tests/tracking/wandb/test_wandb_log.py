"""Weights & Biases, for real as far as that works offline: the run's file is read back."""

import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from metagenrl.objective_server.snapshots.find import snapshot_path
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.runs.rows import AgentRow
from metagenrl.runs.run_records import ScoreRow, SnapshotRow
from metagenrl.tracking.follower_job import FollowerJob
from metagenrl.tracking.wandb import population
from metagenrl.tracking.wandb import run as wandb_run
from metagenrl.tracking.wandb.account import has_api_key, wandb_id
from metagenrl.tracking.wandb.population import WandbLog

AGENT = AgentRow(
    time=1.0, round=10, version=10, agent=0, env="E", incarnation=0, steps=20, life=1,
    life_steps=20, state="learning", episodes=1, return_mean=-3.0, return_last=None,
    episode_length=None, q=0.5, td_loss=None, objective_loss=None, policy_gradient_norm=None,
    gradient_norm=80.0, value_after=None, lag=0, restarts=2,
)  # fmt: skip


pytestmark = pytest.mark.usefixtures("no_account")

Runs = Callable[[Path], dict[str, Any]]
GROUP = wandb_id("run-1")


def job(run_dir: Path, **options: Any) -> FollowerJob:
    config = {"agents": 2, "meta": {"lifetime": 6000}}
    return replace(FollowerJob("wandb", str(run_dir), "run-1", 2, config), **options)


def test_the_id_is_the_runs_own() -> None:
    assert wandb_id("quickstart-2026/x") == wandb_id("quickstart-2026/x")
    assert wandb_id("a/b") != wandb_id("a-b")
    assert set(wandb_id("ä /:?" * 40)) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_offline_file_holds_the_values(
    tmp_path: Path, offline_runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    log = WandbLog(job(tmp_path))
    log.log(
        {"steps": 20.0, "agent/00/steps": 20.0, "agent/00/return": -3.0, "meta/cosine": 0.5}, 10
    )
    log.log({"heldout/steps": 20.0, "heldout/E/return": 7.0}, 20)
    log.finish()
    assert f"wandb sync {tmp_path}/wandb/offline-run-*" in caplog.text
    (run,) = offline_runs(tmp_path).values()
    first, second = run.history()
    assert (first["_step"], second["_step"]) == (10, 20)
    assert (first["agent/00/return"], first["meta/cosine"]) == (-3, 0.5)
    assert second["heldout/E/return"] == 7
    axes = run.axes()
    assert axes["agent/01/*"] == "agent/01/steps"
    assert axes["heldout/*"] == "heldout/steps"
    assert axes["heldout/waiting"] == "steps"
    names = ("population", "meta", "objective", "server", "system")
    assert {axes[f"{name}/*"] for name in names} == {"steps"}
    assert (run.run.run_id, run.run.project) == (GROUP, "metagenrl")
    assert run.config["meta"] == {"lifetime": 6000}


def keep(run_dir: Path, version: int) -> Path:
    """A snapshot as a run keeps it."""
    (run_dir / "objectives").mkdir(exist_ok=True)
    alpha = np.full(4, version, np.float32)
    snapshot = ObjectiveSnapshot(alpha, version, {}, ("E",), 99, "run-1")
    snapshot.save(snapshot_path(run_dir, version))
    return snapshot_path(run_dir, version)


def score(version: int, best: int | None) -> ScoreRow:
    return ScoreRow(1.0, version, version, 99, 1.0, {}, best, 1.0, "m")


def test_snapshots_are_artifacts_with_their_history(tmp_path: Path, offline_runs: Runs) -> None:
    for version in (50, 55, 60):
        keep(tmp_path, version)
    log = WandbLog(job(tmp_path))
    log.snapshot(SnapshotRow(1.0, 50, 50, "objectives/x", 99))
    for version, best in ((50, 50), (55, 50), (60, 60)):  # the same best one is logged once
        log.score(score(version, best))
    log.finish()
    found = offline_runs(tmp_path)[GROUP].artifacts()
    assert [(a.name.removesuffix(f"-{GROUP}"), sorted(a.aliases)) for a in found] == [
        ("objective", ["latest", "version-50"]),
        ("objective-best", ["latest", "version-50"]),
        ("objective-best", ["latest", "version-60"]),
    ]
    assert not any(artifact.use_after_commit for artifact in found)
    metadata = json.loads(found[0].metadata)
    assert (metadata["version"], metadata["steps"]) == (50, 99)
    assert found[0].type == "objective"
    (entry,) = found[0].manifest.contents
    assert entry.path == "objective-00000050.safetensors"
    assert entry.local_path == str(snapshot_path(tmp_path, 50))  # no copy


def test_held_out_tests_are_a_run_that_used_what_the_population_made(
    tmp_path: Path, offline_runs: Runs
) -> None:
    for version in (50, 60):
        keep(tmp_path, version)
    log = WandbLog(job(tmp_path))
    log.log({"steps": 20.0, "heldout/waiting": 6.0}, 5)
    for version in (50, 60):
        log.snapshot(SnapshotRow(1.0, version, version, "objectives/x", 99))
    log.score(score(50, 50))
    log.log({"steps": 30.0, "heldout/steps": 25.0, "heldout/E/return": 7.0}, 70)
    log.finish()
    runs = offline_runs(tmp_path)
    made, tests = runs[GROUP].artifacts()[:2], runs[f"{GROUP}-held-out"]
    (used,) = tests.artifacts()
    assert (used.use_after_commit, used.name) == (True, made[0].name)
    assert used.digest == made[0].digest != made[1].digest
    assert list(used.aliases) == ["version-50"]  # the latest one stays version 60
    (row,) = tests.history()
    assert {key: value for key, value in row.items() if not key.startswith("_")} == {
        "heldout/steps": 25.0, "heldout/E/return": 7.0,
    }  # fmt: skip
    assert runs[GROUP].shown("heldout/E/return", "heldout/steps") == {25.0: 7.0}
    assert [run.run.run_group for run in runs.values()] == [GROUP] * 2
    assert tests.axes() == {"heldout/*": "heldout/steps"}


def test_the_heat_map_is_part_of_the_run(tmp_path: Path, offline_runs: Runs) -> None:
    log = WandbLog(job(tmp_path))
    log.remember([AGENT, replace(AGENT, agent=1, return_mean=5.0), replace(AGENT, steps=40)])
    log.finish()
    (run,) = offline_runs(tmp_path).values()
    (row,) = run.history()
    assert row["population/heat_map/_type"] == "image-file"
    picture = run.file.parent / "files" / row["population/heat_map/path"]
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_the_heat_map_is_drawn_anew_while_the_run_goes_on(
    tmp_path: Path, offline_runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(population, "PICTURE_SECONDS", 0.0)
    log = WandbLog(job(tmp_path))
    log.log({"steps": 20.0}, 10)
    log.remember([AGENT])
    log.log({"steps": 40.0}, 20)
    log.finish()
    (run,) = offline_runs(tmp_path).values()
    drawn = ["population/heat_map/path" in row for row in run.history()]
    assert drawn == [True, True]  # W&B puts a picture beside the values of the next step


def test_agents_have_runs_of_their_own_in_the_same_group(
    tmp_path: Path, offline_runs: Runs
) -> None:
    log = WandbLog(job(tmp_path, per_agent=True))
    log.remember([AGENT, replace(AGENT, agent=1, env="F")])
    log.log(
        {"agent/00/return": -3.0, "agent/00/steps": 20.0, "agent/01/return": 5.0, "steps": 20.0}, 10
    )
    log.log({"agent/01/return": 6.0, "agent/01/steps": 40.0}, 20)
    log.finish()
    runs = offline_runs(tmp_path)
    assert set(runs) == {GROUP, f"{GROUP}-00", f"{GROUP}-01"}
    assert {run.run.run_group for run in runs.values()} == {GROUP}
    assert {run.run.job_type for run in runs.values()} == {"population", "agent"}
    second = runs[f"{GROUP}-01"]
    assert [(row["_step"], row["return"]) for row in second.history()] == [(10, 5), (20, 6)]
    assert second.history()[1]["steps"] == 40
    assert second.axes() == {"*": "steps"}
    assert (second.config["env"], second.config["agent_index"]) == ("F", 1)


def test_a_resumed_run_goes_on_with_the_same_one(tmp_path: Path, offline_runs: Runs) -> None:
    """The id is in the file's name, and steps are rounds, so that they go on as well."""
    for step in (10, 500):
        log = WandbLog(job(tmp_path))
        log.log({"steps": 20.0}, step)
        log.finish()
        offline_runs(tmp_path)
        time.sleep(1.1)  # W&B names the folders by the second
    files = sorted(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert [file.name for file in files] == [f"run-{GROUP}.wandb"] * 2
    (last,) = offline_runs(tmp_path).values()  # of one id
    first = type(last)(files[0])
    assert [row["_step"] for run in (first, last) for row in run.history()] == [10, 500]


def test_online_without_a_key_is_offline(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []

    def init(mode: str, *_: object) -> Any:
        modes.append(mode)
        return SimpleNamespace(define_metric=lambda *_, **__: None)

    monkeypatch.setattr(wandb_run, "_init", init)
    assert WandbLog(job(tmp_path, mode="online")).mode == "offline"
    assert modes == ["offline"]
    assert "no API key" in caplog.text


def test_keys_are_found_where_wandb_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not has_api_key()
    (tmp_path / "netrc").write_text("machine elsewhere.example login user password x\n")
    assert not has_api_key()
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password x\n")
    assert has_api_key()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example:8080")
    assert not has_api_key()
    monkeypatch.setenv("WANDB_API_KEY", "x")
    assert has_api_key()


@pytest.mark.parametrize("answer", ["refuses", "is silent"])
def test_an_unreachable_server_leaves_an_offline_run(tmp_path: Path, answer: str) -> None:
    """In a process of its own: wandb reads its environment once."""
    script = (
        "import sys, logging; from pathlib import Path; logging.basicConfig()\n"
        "from metagenrl.tracking.wandb import population, run as wandb_run\n"
        "from metagenrl.tracking.follower_job import FollowerJob\n"
        "wandb_run.INIT_TIMEOUT = 2.0\n"
        "log = population.WandbLog(FollowerJob('wandb', sys.argv[1], 'run-1', 1, {}, 'online'))\n"
        "print(log.mode); log.finish()"
    )
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if answer == "is silent":
            server.listen()
        port = server.getsockname()[1]
        environment = os.environ | {
            "WANDB_BASE_URL": f"http://127.0.0.1:{port}", "WANDB_API_KEY": "x" * 40,
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)], env=environment, capture_output=True,
            text=True, timeout=120, check=True,
        )  # fmt: skip
    assert done.stdout.splitlines()[0] == "offline"
    assert "could not start online" in done.stderr
    assert "x" * 40 not in done.stdout + done.stderr
    assert len(list(tmp_path.glob("wandb/offline-run-*/*.wandb"))) == 1


def test_failures_are_logged_once_and_swallowed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    class Run:
        def define_metric(self, *_: str, **__: object) -> None: ...

        def log(self, values: dict[str, float], step: int) -> None:
            calls.append(step)
            raise BrokenPipeError("the helper process\nis gone")

        def finish(self) -> None:
            raise RuntimeError("again")

    monkeypatch.setattr(wandb_run, "_init", lambda *_: Run())
    log = WandbLog(job(tmp_path))
    with caplog.at_level(logging.WARNING):
        for step in (10, 20):
            log.log({"steps": 1.0}, step)
        log.finish()
    assert calls == [10, 20]
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == (
        "wandb: BrokenPipeError: the helper process is gone; training goes on without it"
    )
    assert len(said) == 2  # the other one is how to upload what there is


def test_a_run_that_cannot_start_disables_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(*_: object) -> Any:
        raise ImportError("No module named 'wandb'")

    monkeypatch.setattr(wandb_run, "_init", init)
    log = WandbLog(job(tmp_path))
    log.log({"steps": 1.0}, 10)
    log.finish()
    assert log.mode == "disabled"
    assert "No module named 'wandb'" in caplog.text
