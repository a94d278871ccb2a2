"""Fixtures for the command line: commands that run or only record, folders and files to refuse."""

import functools
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import to_dict, to_yaml
from metagenrl.commands.main import main
from metagenrl.learner.hyperparams import ObjectiveConfig
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot, Origin


@pytest.fixture(scope="session")
def run() -> Callable[..., int]:
    """Runs a command line in this process; its exit code."""

    def code(*words: object) -> int:
        try:
            main([str(word) for word in words])
        except SystemExit as error:
            return int(error.code or 0)
        return 0

    return code


@pytest.fixture(scope="session")
def rows() -> Callable[[Path], list[dict[str, Any]]]:
    """Reads the evaluations of a run of `test` or `baseline`."""

    def read(run_dir: Path) -> list[dict[str, Any]]:
        lines = (run_dir / "evaluations.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    return read


@pytest.fixture(scope="session")
def start() -> Callable[..., "subprocess.Popen[bytes]"]:
    """Runs a command line in a process of its own; gives it once a file like `sign` is there."""

    def begin(words: list[str], folder: Path, sign: str) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [sys.executable, "-m", "metagenrl.commands.main", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            # A shell that runs the tests in the background has them ignore Ctrl-C.
            preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )
        deadline = time.monotonic() + 300
        while not list(folder.glob(sign)):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return process

    return begin


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """The configurations that reached a command; the commands themselves do nothing.

    The working folder is an empty one, so that relative run folders would show.
    """
    reached: list[Any] = []

    def command(config: Any) -> int:
        reached.append(config)
        return 0

    training = SimpleNamespace(train=command)
    evaluate = SimpleNamespace(meta_test=command, baseline=command)
    monkeypatch.setitem(sys.modules, "metagenrl.cluster.training", training)
    monkeypatch.setitem(sys.modules, "metagenrl.meta_test.run", evaluate)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return reached


@pytest.fixture
def refusal(
    started: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], str]:
    """Runs a command line, asserts that it is refused with nothing started, gives the line."""

    def refused(line: str) -> str:
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(SystemExit) as caught:
            main(line.split())
        out, err = capsys.readouterr()
        assert caught.value.code == 2
        assert out == ""
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert sorted(tmp_path.rglob("*")) == before
        assert started == []
        return err.removeprefix("error: ").rstrip("\n")

    return refused


@pytest.fixture
def snapshot() -> ObjectiveSnapshot:
    """A small objective that went on from another run's."""
    return ObjectiveSnapshot(
        alpha=np.arange(7, dtype=np.float32),
        version=30,
        config=to_dict(ObjectiveConfig(lstm_units=16)),
        environments=("Pendulum-v1", "Hopper-v5"),
        steps=4_000,
        run="run-b",
        lineage=(Origin("run-a", 20),),
        created="2026-01-02T03:04:05+00:00",
    )


@pytest.fixture
def stored_run(tmp_path: Path, snapshot: ObjectiveSnapshot) -> Callable[[TrainConfig], Path]:
    """Makes a run folder with a configuration and one snapshot."""

    def store(config: TrainConfig) -> Path:
        folder = tmp_path / "run"
        (folder / "objectives").mkdir(parents=True)
        (folder / "config.yaml").write_text(to_yaml(config))
        snapshot.save(folder / "objectives" / "objective-00000030.safetensors")
        return folder

    return store


@dataclass(frozen=True)
class OfflineRun:
    """The `.wandb` file of a run: protobuf records in LevelDB's log format, blocks of 32 KiB."""

    file: Path

    def records(self) -> Iterator[Any]:
        """Those that are complete."""
        from wandb.proto.wandb_internal_pb2 import Record

        data, at, parts = self.file.read_bytes(), 7, b""
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

    def of_kind(self, kind: str) -> list[Any]:
        """The records of one kind, by their content."""
        found = [r for r in self.records() if r.WhichOneof("record_type") == kind]
        return [getattr(record, kind) for record in found]

    def history(self) -> list[dict[str, Any]]:
        """The logged rows."""
        return [
            {
                item.key or "/".join(item.nested_key): json.loads(item.value_json)
                for item in row.item
            }
            for row in self.of_kind("history")
        ]

    def shown(self, key: str, axis: str) -> dict[float, float]:
        """A key's values by those of another one."""
        return {row[axis]: row[key] for row in self.history() if key in row}

    def axes(self) -> dict[str, str]:
        """What keys, by name or pattern, are drawn over."""
        return {m.glob_name or m.name: m.step_metric for m in self.of_kind("metric")}

    def artifacts(self) -> list[Any]:
        """Those that the run made or used, in order."""
        requests = [r.log_artifact.artifact for r in self.of_kind("request")]
        return [*(r for r in requests if r.name), *self.of_kind("artifact")]

    @property
    def run(self) -> Any:
        """Who it is."""
        (run,) = self.of_kind("run")
        return run

    @property
    def config(self) -> dict[str, Any]:
        """Its configuration."""
        return {item.key: json.loads(item.value_json) for item in self.run.config.update}


@pytest.fixture
def offline_runs() -> Callable[[Path], dict[str, OfflineRun]]:
    """The finished offline runs below a folder's wandb/, by id."""

    def read(run_dir: Path) -> dict[str, OfflineRun]:
        files = sorted(run_dir.glob("wandb/offline-run-*/*.wandb"))
        runs = [OfflineRun(file) for file in files]
        deadline = time.monotonic() + 60
        while not all(run.of_kind("exit") for run in runs):  # wandb's helper writes them
            assert time.monotonic() < deadline, f"no end in one of {files}"
            time.sleep(0.05)
        return {run.run.run_id: run for run in runs}

    return read


@pytest.fixture
def no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody's credentials, settings or caches at Weights & Biases."""
    for name in list(os.environ):
        if name.startswith("WANDB_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "wandb-home"))
