"""Weights & Biases, for real as far as that works offline: the run's file is read back."""

import json
import logging
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from metagenrl.cluster import wandb_log
from metagenrl.cluster.follower_job import FollowerJob
from metagenrl.cluster.records import AgentRow
from metagenrl.cluster.run_records import ScoreRow, SnapshotRow
from metagenrl.cluster.wandb_account import has_api_key, wandb_id
from metagenrl.cluster.wandb_log import WandbLog
from metagenrl.objective_server.find import snapshot_path
from metagenrl.objective_server.snapshot import ObjectiveSnapshot, Origin

AGENT = AgentRow(
    time=1.0, round=10, version=10, agent=0, env="E", incarnation=0, steps=20, life=1,
    life_steps=20, state="learning", episodes=1, return_mean=-3.0, return_last=None,
    episode_length=None, q=0.5, td_loss=None, objective_loss=None, policy_gradient_norm=None,
    gradient_norm=80.0, value_after=None, lag=0, restarts=2,
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody's credentials, settings or caches."""
    for name in list(os.environ):
        if name.startswith("WANDB_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "wandb-home"))


def records(file: Path) -> Iterator[Any]:
    """The protobuf records of a .wandb file: LevelDB's log format, blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, parts = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        if at + 7 + length > len(data):  # being written
            return
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a full record, or the last part of one
            yield Record.FromString(parts)
            parts = b""


def finished(file: Path) -> Path:
    """The file once its run's end is in it: wandb's helper writes it behind our back."""
    deadline = time.monotonic() + 60
    while not any(record.WhichOneof("record_type") == "exit" for record in records(file)):
        assert time.monotonic() < deadline, f"{file} has no end"
        time.sleep(0.05)
    return file


def history(file: Path) -> list[dict[str, Any]]:
    found = []
    for record in records(file):
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            found.append({i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items})
    return found


def offline_files(run_dir: Path) -> list[Path]:
    return sorted(run_dir.glob("wandb/offline-run-*/*.wandb"))


def job(run_dir: Path, **options: Any) -> FollowerJob:
    config = {"agents": 2, "meta": {"lifetime": 6000}}
    return replace(FollowerJob("wandb", str(run_dir), "run-1", 2, config), **options)


def the_run(file: Path) -> Any:
    (run,) = (r.run for r in records(file) if r.WhichOneof("record_type") == "run")
    return run


def test_the_id_is_the_runs_own() -> None:
    assert wandb_id("quickstart-2026/x") == wandb_id("quickstart-2026/x")
    assert wandb_id("a/b") != wandb_id("a-b")
    assert set(wandb_id("ä /:?" * 40)) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_offline_file_holds_the_values(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = WandbLog(job(tmp_path))
    log.log(
        {"steps": 20.0, "agent/00/steps": 20.0, "agent/00/return": -3.0, "meta/cosine": 0.5}, 10
    )
    log.log({"heldout/steps": 20.0, "heldout/E/return": 7.0}, 20)
    log.finish()
    assert f"wandb sync {tmp_path}/wandb/offline-run-*" in caplog.text
    (file,) = offline_files(tmp_path)
    first, second = history(finished(file))
    assert (first["_step"], second["_step"]) == (10, 20)
    assert (first["agent/00/return"], first["meta/cosine"]) == (-3, 0.5)
    assert second["heldout/E/return"] == 7
    axes = {
        record.metric.glob_name: record.metric.step_metric
        for record in records(file)
        if record.WhichOneof("record_type") == "metric"
    }
    assert axes["agent/01/*"] == "agent/01/steps"
    assert axes["heldout/*"] == "heldout/steps"
    names = ("population", "meta", "objective", "server", "system")
    assert {axes[f"{name}/*"] for name in names} == {"steps"}
    run = the_run(file)
    assert (run.run_id, run.project) == (wandb_id("run-1"), "metagenrl")
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["meta"] == {"lifetime": 6000}


def test_snapshots_are_artifacts_with_their_history(tmp_path: Path) -> None:
    (tmp_path / "objectives").mkdir()
    origin = Origin("run-a", 20)
    for version in (50, 60):
        alpha = np.full(4, version, np.float32)
        snapshot = ObjectiveSnapshot(alpha, version, {}, ("E",), 99, "run-1", (origin,))
        snapshot.save(snapshot_path(tmp_path, version))
    log = WandbLog(job(tmp_path))
    log.snapshot(SnapshotRow(1.0, 50, 50, "objectives/x", 99))
    for version, best in ((50, 50), (55, 50), (60, 60)):  # the same best one is logged once
        log.score(ScoreRow(1.0, version, version, 99, 1.0, {}, best, 1.0, "m"))
    log.finish()
    (file,) = offline_files(tmp_path)
    found = [
        record.request.log_artifact.artifact if record.HasField("request") else record.artifact
        for record in records(finished(file))
        if record.WhichOneof("record_type") in ("artifact", "request")
    ]
    collection = f"-{wandb_id('run-1')}"
    assert [(a.name.removesuffix(collection), sorted(a.aliases)) for a in found] == [
        ("objective", ["latest", "version-50"]),
        ("objective-best", ["latest", "version-50"]),
        ("objective-best", ["latest", "version-60"]),
    ]
    metadata = json.loads(found[0].metadata)
    assert (metadata["version"], metadata["steps"]) == (50, 99)
    assert metadata["lineage"] == [{"run": "run-a", "version": 20}]
    assert found[0].type == "objective"
    (entry,) = found[0].manifest.contents
    assert entry.path == "objective-00000050.safetensors"
    assert entry.local_path == str(snapshot_path(tmp_path, 50))  # no copy


def test_the_heat_map_is_part_of_the_run(tmp_path: Path) -> None:
    log = WandbLog(job(tmp_path))
    log.remember([AGENT, replace(AGENT, agent=1, return_mean=5.0), replace(AGENT, steps=40)])
    log.finish()
    (file,) = offline_files(tmp_path)
    (row,) = history(finished(file))
    assert row["population/heat_map/_type"] == "image-file"
    picture = file.parent / "files" / row["population/heat_map/path"]
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_agents_have_runs_of_their_own_in_the_same_group(tmp_path: Path) -> None:
    log = WandbLog(job(tmp_path, per_agent=True))
    log.remember([AGENT, replace(AGENT, agent=1, env="F")])
    log.log(
        {"agent/00/return": -3.0, "agent/00/steps": 20.0, "agent/01/return": 5.0, "steps": 20.0}, 10
    )
    log.log({"agent/01/return": 6.0, "agent/01/steps": 40.0}, 20)
    log.finish()
    files = {the_run(finished(file)).run_id: file for file in offline_files(tmp_path)}
    group = wandb_id("run-1")
    assert set(files) == {group, f"{group}-00", f"{group}-01"}
    assert {the_run(file).run_group for file in files.values()} == {group}
    assert {the_run(file).job_type for file in files.values()} == {"population", "agent"}
    rows = history(files[f"{group}-01"])
    assert [(row["_step"], row["return"]) for row in rows] == [(10, 5), (20, 6)]
    assert rows[1]["steps"] == 40
    config = {i.key: json.loads(i.value_json) for i in the_run(files[f"{group}-01"]).config.update}
    assert (config["env"], config["agent_index"]) == ("F", 1)


def test_a_resumed_run_goes_on_with_the_same_one(tmp_path: Path) -> None:
    """The id is in the file's name, and steps are rounds, so that they go on as well."""
    for step in (10, 500):
        log = WandbLog(job(tmp_path))
        log.log({"steps": 20.0}, step)
        log.finish()
        finished(offline_files(tmp_path)[-1])
        time.sleep(1.1)  # W&B names the folders by the second
    files = offline_files(tmp_path)
    assert [file.name for file in files] == [f"run-{wandb_id('run-1')}.wandb"] * 2
    assert [row["_step"] for file in files for row in history(file)] == [10, 500]


def test_online_without_a_key_is_offline(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []

    def init(mode: str, *_: object) -> Any:
        modes.append(mode)
        return SimpleNamespace()

    monkeypatch.setattr(wandb_log, "_init", init)
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
        "from metagenrl.cluster import wandb_log\n"
        "from metagenrl.cluster.follower_job import FollowerJob\n"
        "wandb_log.INIT_TIMEOUT = 2.0\n"
        "log = wandb_log.WandbLog(FollowerJob('wandb', sys.argv[1], 'run-1', 1, {}, 'online'))\n"
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
    assert len(offline_files(tmp_path)) == 1


def test_failures_are_logged_once_and_swallowed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    class Run:
        def log(self, values: dict[str, float], step: int) -> None:
            calls.append(step)
            raise BrokenPipeError("the helper process\nis gone")

        def finish(self) -> None:
            raise RuntimeError("again")

    monkeypatch.setattr(wandb_log, "_init", lambda *_: Run())
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

    monkeypatch.setattr(wandb_log, "_init", init)
    log = WandbLog(job(tmp_path))
    log.log({"steps": 1.0}, 10)
    log.finish()
    assert log.mode == "disabled"
    assert "No module named 'wandb'" in caplog.text
