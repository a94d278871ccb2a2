"""What is resumed takes everything from its folder; what is typed is compared with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metagenrl.commands.epg import epg_train_config
from metagenrl.commands.main import main
from metagenrl.runs.config.epg import EpgTrainConfig
from metagenrl.runs.config.epg_config import EvolutionConfig
from metagenrl.runs.config.lone_agents import BaselineConfig, EvaluationConfig, MetaTestConfig
from metagenrl.runs.config.presets import PRESETS
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import to_yaml

Refusal = Callable[[str], str]

ENV = "Pendulum-v1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def cut_off(command: str, folder: Path, preset: str = "quickstart") -> EvaluationConfig:
    """The configuration that a command has left in `folder`."""
    agent = PRESETS[preset].train.agent
    common: Any = {"env": ENV, "run_dir": folder, "seeds": 2, "steps": 400, "agent": agent}
    if command == "test":
        config: EvaluationConfig = MetaTestConfig(objective="random", **common)
    else:
        config = BaselineConfig(algo="td3", **common)
    (folder / "config.yaml").write_text(to_yaml(config))
    return config


@pytest.mark.parametrize("command", ["test", "baseline"])
@pytest.mark.parametrize("words", ["", "--preset quickstart --steps 400", "--seeds 2"])
def test_resume_takes_everything_from_the_run(
    command: str, words: str, folder: Path, started: list[Any]
) -> None:
    stored = cut_off(command, folder)
    main([command, "--resume", "--run-dir", str(folder), *words.split(), "--workers", "3"])
    (config,) = started
    assert (config.resume, config.workers) == (True, 3)
    for name in ("env", "seeds", "steps", "agent"):
        assert getattr(config, name) == getattr(stored, name), name


@pytest.mark.parametrize("command", ["test", "baseline"])
@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--seeds 3", "seeds: got 3, allowed: 2, as in the run being resumed"),
        ("--gamma 0.5", "agent.gamma: got 0.5, allowed: 0.99, as in"),
        ("--preset paper", "preset: got 'paper' (steps: 1000000), allowed: none, or one with 400,"),
        ("--preset small --steps 400", "preset: got 'small' (agent.batch_size: 32), allowed: none"),
    ],
)
def test_only_what_was_typed_is_refused(
    command: str, words: str, line: str, folder: Path, refusal: Refusal
) -> None:
    cut_off(command, folder)
    assert refusal(f"{command} --resume --run-dir {folder} {words}").startswith(line)


def test_an_evolution_is_resumed_from_its_folder(folder: Path) -> None:
    stored = EpgTrainConfig(
        env=ENV, run_dir=folder, updates=3, evolution=EvolutionConfig(generations=5, sigma=0.3)
    )
    (folder / "config.yaml").write_text(to_yaml(stored))
    words = ["--resume", "--run-dir", str(folder)]
    config = epg_train_config([*words, "--workers", "7"])
    assert (config.env, config.updates, config.workers) == (ENV, 3, 7)
    assert config.evolution == stored.evolution
    with pytest.raises(ValueError, match=r"^preset: got 'paper' \(updates: 128\), allowed: none"):
        epg_train_config([*words, "--preset", "paper"])


def test_training_with_a_file_of_some_fields_keeps_the_others(
    started: list[Any], tmp_path: Path, stored_run: Callable[[TrainConfig], Path]
) -> None:
    run = stored_run(TrainConfig(envs=(ENV,), agents=3, seed=7))
    (tmp_path / "file.yaml").write_text("log_every: 7\n")
    main(["train", "--resume", str(run), "--config", str(tmp_path / "file.yaml")])
    (config,) = started
    assert (config.agents, config.seed, config.log_every) == (3, 7, 7)
