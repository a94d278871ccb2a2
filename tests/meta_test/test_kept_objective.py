"""A meta-test goes on with the objective in its folder, also once that has moved."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metagenrl.base.files.checkpoint_folder import write_folder
from metagenrl.baselines.meta_learned import baseline_of_test, meta_learned
from metagenrl.commands.main import main
from metagenrl.learner.hyperparams import ObjectiveConfig
from metagenrl.learner.objective.net import ObjectiveNet
from metagenrl.meta_test.kept_objective import without_kept_objective
from metagenrl.meta_test.tested_objective import objective_of_test
from metagenrl.objective_server.snapshots.find import snapshot_path
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.runs.config.lone_agents import MetaTestConfig
from metagenrl.runs.config.yaml import to_dict, to_yaml
from metagenrl.runs.folder import training_file_of

Refusal = Callable[[str], str]

ARCHITECTURE = ObjectiveConfig(lstm_units=4, hidden_units=4, input_features=2)


def store(run: Path, version: int) -> None:
    """An objective whose parameters are its version."""
    alpha = np.full(ObjectiveNet(ARCHITECTURE).layout.size, version, np.float32)
    path = snapshot_path(run, version)
    path.parent.mkdir(parents=True, exist_ok=True)
    environments = ("Pendulum-v1",)
    ObjectiveSnapshot(alpha, version, to_dict(ARCHITECTURE), environments, 10, "r").save(path)


@pytest.fixture
def moved(tmp_path: Path) -> MetaTestConfig:
    """A test that was cut off, whose objective has moved from run/ to moved/ since."""
    store(tmp_path / "run", 5)
    config = MetaTestConfig(
        env="Pendulum-v1", run_dir=tmp_path / "test", objective=str(tmp_path / "run"), seeds=2,
        architecture=ARCHITECTURE,
    )  # fmt: skip
    config.run_dir.mkdir()
    (config.run_dir / "config.yaml").write_text(to_yaml(config))
    objective_of_test(config).save(config.run_dir)
    (tmp_path / "run").rename(tmp_path / "moved")
    return config


@pytest.mark.parametrize(
    "words",
    ["", "--objective {}/run", "--objective {}/moved", "--objective {}/moved --version 5",
     "--objective {}/test/objective.safetensors", "--config {}/test/config.yaml"],
)  # fmt: skip
def test_a_test_whose_objective_has_moved_goes_on(
    words: str, moved: MetaTestConfig, tmp_path: Path, started: list[Any]
) -> None:
    main(["test", "--resume", "--run-dir", str(moved.run_dir), *words.format(tmp_path).split()])
    assert started == [replace(moved, resume=True)]
    assert objective_of_test(started[0]).snapshot.version == 5


@pytest.mark.parametrize("other", ["random", "{}/other", "{}/nowhere", "pretrained"])
def test_another_objective_is_refused(
    other: str, moved: MetaTestConfig, tmp_path: Path, refusal: Refusal
) -> None:
    store(tmp_path / "other", 6)
    text = other.format(tmp_path)
    assert refusal(f"test --resume --run-dir {moved.run_dir} --objective {text}") == (
        f"objective: got {text!r}, allowed: {moved.objective!r}, as in the run being resumed"
    )


def test_the_copy_is_an_objective_of_its_own(
    moved: MetaTestConfig, tmp_path: Path, started: list[Any]
) -> None:
    copy = moved.run_dir / "objective.safetensors"
    assert training_file_of(copy) is None  # and not the configuration of the test around it
    words = f"--objective {copy} --env Pendulum-v1 --run-dir {tmp_path / 'new'}"
    main(["test", *words.split()])
    assert started[0].architecture == ARCHITECTURE


def test_a_test_of_policies_goes_on_with_its_copies(tmp_path: Path) -> None:
    run, folder = tmp_path / "moved", tmp_path / "test"
    facts = {"rule": "rl2", "environments": ["Pendulum-v1"],
             "padding": {"observations": 3, "actions": 1}}  # fmt: skip
    config = MetaTestConfig(env="Pendulum-v1", run_dir=folder, objective=str(tmp_path / "run"))
    for where, own, policies in (
        (run, facts | {"phase": "train"}, run / "seeds"),
        (folder, facts | {"phase": "test", "run": config.objective}, folder / "policies"),
    ):
        policies.mkdir(parents=True)
        (where / "objective.json").write_text(json.dumps(own))
        write_folder(policies, "seed-0.policy", {"policy": {"weights": np.arange(3.0)}})
    (folder / "config.yaml").write_text(to_yaml(config))
    assert without_kept_objective({"objective": str(run)}, folder) == {}
    learned = baseline_of_test(replace(config, resume=True))
    assert learned is not None
    assert (learned.algo, str(learned.run_dir)) == ("rl2", config.objective)
    assert meta_learned(folder) is None
    (run / "seeds" / "seed-0.policy" / "manifest.json").write_text("other")
    assert without_kept_objective({"objective": str(run)}, folder) == {"objective": str(run)}
