"""What the words of a command line become by the time a command gets them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from metagenrl.commands.main import main
from metagenrl.learner.hyperparams import AgentConfig, ObjectiveConfig
from metagenrl.runs.config.lone_agents import BaselineConfig, MetaTestConfig
from metagenrl.runs.config.paths import absolute
from metagenrl.runs.config.presets import PRESETS
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import to_dict

ENVS = ["--envs", "Pendulum-v1"]
StoreRun = Callable[[TrainConfig], Path]


def test_preset_then_file_then_flags(started: list[Any], tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("agents: 5\nsteps: 700\nagent: {gamma: 0.9, hidden_units: 48}\n")
    argv = ["train", "--preset", "quickstart", "--config", str(file), *ENVS, "--gamma", "0.95"]
    main([*argv, "--run-dir", str(tmp_path / "run"), "--steps", "800"])
    (config,) = started
    preset = PRESETS["quickstart"].train
    assert (config.agents, config.steps) == (5, 800)
    assert (config.agent.gamma, config.agent.hidden_units) == (0.95, 48)
    assert config.agent.batch_size == preset.agent.batch_size
    assert config.meta == preset.meta
    assert config.run_dir == tmp_path / "run"


def test_without_a_preset_training_is_small(started: list[Any]) -> None:
    main(["train"])
    assert started == [absolute(PRESETS["small"].train)]


@pytest.mark.parametrize(
    ("flags", "section", "field", "value"),
    [
        ("--batch-size 16", "agent", "batch_size", 16),
        ("--batch_size=16", "agent", "batch_size", 16),
        ("--agent.batch-size 16", "agent", "batch_size", 16),
        ("--hidden-units 48", "agent", "hidden_units", 48),
        ("--objective.hidden-units 48", "objective", "hidden_units", 48),
        ("--objective.eta 10", "objective", "eta", 10.0),
        ("--eta 10", "objective", "eta", 10.0),
        ("--no-use-time", "objective", "use_time", False),
        ("--objective.no-use-time", "objective", "use_time", False),
        ("--bidirectional", "objective", "bidirectional", True),
        ("--normalization joint", "objective", "normalization", "joint"),
        ("--learning-rate 3e-4", "meta", "learning_rate", 3e-4),
        ("--inner-steps 2", "meta", "inner_steps", 2),
        ("--lifetime 0", "meta", "lifetime", 0),
        ("--no-stagger", "meta", "stagger", False),
        ("--staleness-bound 2", "server", "staleness_bound", 2),
        ("--gamma 0.5 --gamma 0.6", "agent", "gamma", 0.6),
    ],
)
def test_every_section_is_reached_by_name(
    flags: str, section: str, field: str, value: Any, started: list[Any]
) -> None:
    main(["train", *ENVS, *flags.split()])
    (config,) = started
    preset = to_dict(absolute(PRESETS["small"].train))
    preset["envs"] = ["Pendulum-v1"]
    preset[section][field] = value
    assert to_dict(config) == preset


def test_top_level_values_of_every_type(started: list[Any]) -> None:
    line = "--envs Pendulum-v1 Hopper-v5 --engine inprocess --agent-cpus 0.05 --wandb offline"
    main(["train", *line.split()])
    main(["train", "--agent-cpus", "none"])
    first, second = started
    assert first.envs == ("Pendulum-v1", "Hopper-v5")
    assert (first.engine, first.agent_cpus, first.wandb) == ("inprocess", 0.05, "offline")
    assert second.agent_cpus is None


@pytest.mark.parametrize("where", ["run", "run/objectives/objective-00000030.safetensors"])
def test_a_meta_test_takes_agents_from_the_objectives_run(
    where: str, started: list[Any], tmp_path: Path, stored_run: StoreRun
) -> None:
    trained = TrainConfig(agent=AgentConfig(hidden_units=24, gamma=0.9))
    stored_run(trained)
    line = f"test --objective {tmp_path / where} --env Pendulum-v1 --gamma 0.8 --seeds 2"
    main([*line.split(), "--run-dir", str(tmp_path / "out")])
    (config,) = started
    assert config.agent == AgentConfig(hidden_units=24, gamma=0.8)
    assert config.architecture == ObjectiveConfig(lstm_units=16)  # the snapshot's, not the run's
    assert (config.seeds, config.env, config.run_dir) == (2, "Pendulum-v1", tmp_path / "out")


def test_a_preset_beats_the_objectives_run(started: list[Any], stored_run: StoreRun) -> None:
    run = stored_run(TrainConfig(agent=AgentConfig(hidden_units=24)))
    line = f"test --objective {run} --env Pendulum-v1 --preset paper --run-dir out"
    main(line.split())
    assert started[0].agent == AgentConfig()
    assert started[0].steps == 1_000_000


def test_the_random_control_has_the_presets_sizes(started: list[Any]) -> None:
    line = "test --objective random --env Pendulum-v1 --run-dir out --architecture.lstm-units 8"
    main(line.split())
    expected = MetaTestConfig(
        objective="random",
        env="Pendulum-v1",
        run_dir=Path("out"),
        steps=PRESETS["small"].test_steps,
        agent=PRESETS["small"].train.agent,
        architecture=replace(PRESETS["small"].train.objective, lstm_units=8),
    )
    assert started == [absolute(expected)]


def test_a_baseline(started: list[Any]) -> None:
    main(
        [
            "baseline",
            "--algo",
            "td3",
            "--env",
            "Pendulum-v1",
            "--run-dir",
            "out",
            "--steps",
            "50",
            "--preset",
            "paper",
        ]
    )
    expected = BaselineConfig(algo="td3", env="Pendulum-v1", run_dir=Path("out"), steps=50)
    assert started == [absolute(expected)]


def test_resume_alone_takes_everything_from_the_run(
    started: list[Any], stored_run: StoreRun
) -> None:
    stored = TrainConfig(envs=("Pendulum-v1",), agents=3, seed=7, run_dir=Path("elsewhere"))
    run = stored_run(stored)
    main(["train", "--resume", str(run), "--steps", "700000", "--engine", "inprocess"])
    (config,) = started
    assert (config.run_dir, config.resume) == (run, run)
    assert (config.agents, config.seed, config.steps) == (3, 7, 700_000)
    assert config.engine == "inprocess"


@pytest.mark.parametrize("line", ["--run-dir=~/x y", "--run-dir ~/x y", "--config FILE"])
def test_the_home_is_meant_by_its_sign_in_flags_and_files(
    line: str, started: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "file.yaml").write_text("run_dir: ~/x y\n")
    words = {"--run-dir=~/x y": ["--run-dir=~/x y"], "--run-dir ~/x y": ["--run-dir", "~/x y"]}
    main(["train", "--envs", "Pendulum-v1", *words.get(line, ["--config", "~/file.yaml"])])
    (config,) = started
    assert config.run_dir == tmp_path / "x y"


def test_relative_folders_are_meant_from_where_the_command_began(started: list[Any]) -> None:
    main(["test", "--objective", "random", "--env", "Pendulum-v1", "--run-dir", "ä/b"])
    (config,) = started
    assert config.run_dir == Path.cwd() / "ä" / "b"
    assert config.objective == "random"


@pytest.mark.parametrize(
    "folder", ["a" * 300, "a/" * 2200, "~nobody-has-this-name/x", "/proc/version/x"]
)
def test_a_folder_that_cannot_be_is_one_line(folder: str, refusal: Callable[[str], str]) -> None:
    line = refusal(f"train --envs Pendulum-v1 --run-dir {folder}")
    assert line.startswith(("run_dir: got ", "--run-dir: got "))
    assert len(line) < 250


def test_what_goes_where_a_list_stands_twice_is_said(
    started: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    main(["train", *ENVS, "--env-kwargs", "g=8", "--envs", "Pendulum-v1", "--env-kwargs", "g=9"])
    assert started[0].envs == ("Pendulum-v1(g=9)",)
    assert caplog.messages == [
        "--env-kwargs stands twice, g=8 of the first one is lost: write all words behind one "
        "--env-kwargs"
    ]


@pytest.mark.parametrize("given", ["flags", "a file", "the environment in a file"])
def test_powers_of_ten_are_numbers_in_an_environments_arguments(
    given: str, started: list[Any], tmp_path: Path
) -> None:
    texts = {
        "a file": "env_kwargs: {g: {uniform: [1e-3, 1E1]}}\nenvs: [Pendulum-v1]\n",
        "the environment in a file": (
            "envs: [{id: Pendulum-v1, kwargs: {g: {uniform: [1e-3, 1E1]}}}]\n"
        ),
    }
    (tmp_path / "file.yaml").write_text(texts.get(given, "{seed: 0}"))
    flags = [*ENVS, "--env-kwargs", "g={uniform: [1e-3, 1E1]}"] if given == "flags" else []
    main(["train", "--config", str(tmp_path / "file.yaml"), *flags])
    assert started[0].envs == ('Pendulum-v1(g={"uniform": [0.001, 10.0]})',)
