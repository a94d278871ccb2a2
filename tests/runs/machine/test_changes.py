"""A run that goes on elsewhere says what is different and what that does to its bits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.folder import IDENTITY_FILE, open_run

SAME = "bits may differ from a run that was never interrupted"


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    return TrainConfig(run_dir=tmp_path / "run")


def resumed_after(config: TrainConfig, capsys, **changed: object) -> str:
    """What resuming prints where the run's identity was written elsewhere."""
    open_run(config)
    path = config.run_dir / IDENTITY_FILE
    identity = json.loads(path.read_text())
    versions = identity["versions"] | changed.pop("versions", {})
    path.write_text(json.dumps(identity | {"versions": versions} | changed))
    capsys.readouterr()
    open_run(replace(config, resume=config.run_dir))
    return capsys.readouterr().out


def test_on_the_same_machine_nothing_is_said(config, capsys) -> None:
    assert resumed_after(config, capsys) == ""


@pytest.mark.parametrize("name", ["torch", "numpy", "mujoco", "python"])
def test_other_versions(config, capsys, name: str) -> None:
    said = resumed_after(config, capsys, versions={name: "1.2.3"})
    assert said.startswith(f"goes on with {name} ")
    assert f"(was 1.2.3): {SAME}" in said
    assert said.count("\n") == 1


def test_another_processor(config, capsys) -> None:
    said = resumed_after(config, capsys, processor="Z80")
    assert "(was Z80): bits may differ" in said


def test_fewer_cores_change_the_pace_alone(config, capsys) -> None:
    said = resumed_after(config, capsys, cores=4096)
    assert "(was 4096): the pace changes, what a synchronous run computes does not" in said


def test_a_run_of_before_that_was_recorded_goes_on(config, capsys) -> None:
    open_run(config)
    path = config.run_dir / IDENTITY_FILE
    identity = json.loads(path.read_text())
    del identity["processor"], identity["cores"], identity["versions"]["python"]
    path.write_text(json.dumps(identity))
    capsys.readouterr()
    open_run(replace(config, resume=config.run_dir))
    assert capsys.readouterr().out == ""
