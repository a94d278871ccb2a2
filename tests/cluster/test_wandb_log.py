"""Weights & Biases, for real as far as that works offline: the run's file is read back."""

import json
import logging
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from metagenrl.cluster import wandb_log
from metagenrl.cluster.records import AgentRow, EventRow, ObjectiveRow
from metagenrl.cluster.wandb_log import WandbLog, has_api_key, wandb_id
from metagenrl.cluster.wandb_values import agent_values, objective_values, population_values

AGENT = AgentRow(
    time=1.0, round=10, version=10, agent=0, env="E", incarnation=0, steps=20, life=1,
    life_steps=20, state="learning", episodes=1, return_mean=-3.0, return_last=None,
    episode_length=None, q=0.5, td_loss=None, objective_loss=None, policy_gradient_norm=None,
    gradient_norm=80.0, value_after=None, lag=0, restarts=2,
)  # fmt: skip
OBJECTIVE = ObjectiveRow(
    time=1.0, round=10, version=10, contributors=2, gradient_norm=0.5, update_norm=0.1,
    alpha_norm=18.0, cosine=0.25, cosine_by_env={"a/E": 0.5}, accepted=9, rejected=2, stale=1,
    duplicate=1, agent_steps=40, agent_steps_per_s=100.0,
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


def test_keys_and_values() -> None:
    agent = agent_values(replace(AGENT, agent=7))
    assert agent["agent/07/return"] == -3.0
    assert (agent["agent/07/q"], agent["agent/07/steps"], agent["agent/07/life"]) == (0.5, 20, 1)
    objective = objective_values(OBJECTIVE, agents=2)
    assert objective["steps"] == 20.0  # of one agent
    assert objective["meta/cosine/a-E"] == 0.5
    assert objective["objective/version"] == 10
    assert objective["system/agent_steps_per_s"] == 100.0
    latest = {
        0: AGENT,
        1: replace(AGENT, agent=1, return_mean=-5.0, steps=10, restarts=1, state="failed"),
        2: replace(AGENT, agent=2, return_mean=None, env="F", steps=0),
    }
    assert population_values(latest) == {
        "steps": 10.0, "population/restarts": 5, "population/learning": 2,
        "population/E/return_mean": -4.0, "population/E/return_min": -5.0,
        "population/E/return_max": -3.0,
    }  # fmt: skip


def test_the_id_is_the_runs_own() -> None:
    assert wandb_id("quickstart-2026/x") == wandb_id("quickstart-2026/x")
    assert wandb_id("a/b") != wandb_id("a-b")
    assert set(wandb_id("ä /:?" * 40)) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_offline_file_holds_the_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = WandbLog("offline", tmp_path, "run-1", 2, {"agents": 2, "meta": {"lifetime": 6000}})
    log.log([replace(OBJECTIVE, version=7)])  # every tenth version is logged
    log.log([AGENT, replace(AGENT, agent=1, return_mean=-5.0), OBJECTIVE])
    log.log([EventRow(0.0, 11, "restart", 1, "x")])
    log.log([replace(AGENT, round=20, steps=40, return_mean=None)])
    command = log.finish()
    assert command == f"wandb sync {tmp_path}/wandb/offline-run-*"
    assert command in capsys.readouterr().out
    (file,) = offline_files(tmp_path)
    first, second = history(finished(file))
    assert (first["_step"], second["_step"]) == (10, 20)
    assert first["agent/00/return"] == -3
    assert first["agent/01/return"] == -5
    assert first["population/E/return_mean"] == -4
    assert (first["meta/gradient_norm"], first["meta/cosine"]) == (0.5, 0.25)
    assert second["agent/00/steps"] == 40
    assert "agent/00/return" not in second
    axes = {
        record.metric.glob_name: record.metric.step_metric
        for record in records(file)
        if record.WhichOneof("record_type") == "metric"
    }
    assert axes["agent/01/*"] == "agent/01/steps"
    assert axes["population/*"] == axes["meta/*"] == "steps"
    (run,) = (r.run for r in records(file) if r.WhichOneof("record_type") == "run")
    assert (run.run_id, run.project) == (wandb_id("run-1"), "metagenrl")
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["meta"] == {"lifetime": 6000}


def test_a_resumed_run_goes_on_with_the_same_one(tmp_path: Path) -> None:
    """The id is in the file's name, and steps are rounds, so that they go on as well."""
    script = (
        "import sys; from pathlib import Path\n"
        "from metagenrl.cluster.wandb_log import WandbLog\n"
        "from metagenrl.cluster.records import EventRow\n"
        "log = WandbLog('offline', Path(sys.argv[1]), 'run-1', 1, {}); log.finish()"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, timeout=120)
    log = WandbLog("offline", tmp_path, "run-1", 1, {})
    log.log([replace(AGENT, round=500)])
    log.finish()
    files = offline_files(tmp_path)
    assert {file.name for file in files} == {f"run-{wandb_id('run-1')}.wandb"}
    assert [row["_step"] for row in history(finished(files[-1]))] == [500]


def test_online_without_a_key_is_offline(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []

    def init(mode: str, *_: object) -> Any:
        modes.append(mode)
        return SimpleNamespace()

    monkeypatch.setattr(wandb_log, "_init", init)
    assert WandbLog("online", tmp_path, "run-1", 1, {}).mode == "offline"
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


def test_an_unreachable_server_leaves_an_offline_run(tmp_path: Path) -> None:
    """In a process of its own: wandb reads its environment once."""
    script = (
        "import sys, logging; from pathlib import Path; logging.basicConfig()\n"
        "from dataclasses import replace\n"
        "from metagenrl.cluster import wandb_log\n"
        "wandb_log.INIT_TIMEOUT = 2.0\n"
        "log = wandb_log.WandbLog('online', Path(sys.argv[1]), 'run-1', 1, {})\n"
        "print(log.mode); log.finish()"
    )
    environment = os.environ | {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "x" * 40}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], env=environment, capture_output=True,
        text=True, timeout=120, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[0] == "offline"
    assert "could not start online" in done.stderr
    assert "x" * 40 not in done.stdout + done.stderr
    assert len(offline_files(tmp_path)) == 1


def test_disabled_does_not_even_import_wandb(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from metagenrl.cluster.wandb_log import WandbLog\n"
        "log = WandbLog('disabled', Path(sys.argv[1]), 'run-1', 1, {})\n"
        "log.log([]); assert log.finish() is None\n"
        "print([m for m in ('wandb', 'torch', 'matplotlib', 'rich') if m in sys.modules])"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "[]\n"
    assert list(tmp_path.iterdir()) == []


def test_failures_are_logged_once_and_swallowed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    class Run:
        settings = SimpleNamespace(sync_dir="x")

        def log(self, values: dict[str, float], step: int) -> None:
            calls.append(step)
            raise BrokenPipeError("the helper process\nis gone")

        def finish(self) -> None:
            raise RuntimeError("again")

    monkeypatch.setattr(wandb_log, "_init", lambda *_: Run())
    log = WandbLog("offline", tmp_path, "run-1", 1, {})
    with caplog.at_level(logging.WARNING):
        for step in (10, 20):
            log.log([replace(AGENT, round=step)])
        assert log.finish() is None
    assert calls == [10, 20]
    assert [record.getMessage() for record in caplog.records] == [
        "wandb: BrokenPipeError: the helper process is gone; training goes on without it"
    ]


def test_a_run_that_cannot_start_disables_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(*_: object) -> Any:
        raise ImportError("No module named 'wandb'")

    monkeypatch.setattr(wandb_log, "_init", init)
    log = WandbLog("offline", tmp_path, "run-1", 1, {})
    log.log([AGENT])
    assert (log.mode, log.finish()) == ("disabled", None)
    assert "No module named 'wandb'" in caplog.text
