"""Fixtures for the command line: commands that run or only record, folders and files to refuse."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from metagenrl.cluster.config import TrainConfig
from metagenrl.cluster.config_io import to_dict, to_yaml
from metagenrl.cluster.main import main
from metagenrl.learner.hyperparams import ObjectiveConfig
from metagenrl.objective_server.snapshot import ObjectiveSnapshot, Origin


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
            [sys.executable, "-m", "metagenrl.cluster.main", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
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
    monkeypatch.setitem(sys.modules, "metagenrl.cluster.evaluate", evaluate)
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
