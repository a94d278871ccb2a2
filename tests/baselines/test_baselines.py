"""The baselines from the command line: the phases of rl2, options, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metagenrl.commands.main import main
from metagenrl.learner.hyperparams import AgentConfig
from metagenrl.runs.agent_job import agent_for
from metagenrl.runs.config.baselines import BASELINES, Algorithm
from metagenrl.runs.config.lone_agents import BaselineConfig

Refusal = Callable[[str], str]
Run = Callable[..., int]
Rows = Callable[[Path], list[dict[str, Any]]]

SIZES = (
    *("--hidden-units", "8", "--eval-episodes", "1", "--rollout-steps", "100"),
    *("--ppo.epochs", "1", "--rl2.lstm-units", "4"),
)


def facts(run_dir: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run_dir / "objective.json").read_text())
    return found


@pytest.fixture(scope="module")
def meta_trained(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an rl2 run of two seeds in two environments."""
    run_dir = tmp_path_factory.mktemp("rl2") / "run"
    words = ["--seeds", 2, "--steps", 200, "--eval-every", 200, "--phase", "train", *SIZES]
    envs = ["--envs", "Pendulum-v1", "InvertedPendulum-v5"]
    assert run("baseline", "--algo", "rl2", *envs, "--run-dir", run_dir, *words) == 0
    return run_dir


def test_rl2_trains_in_several_environments(rows: Rows, meta_trained: Path) -> None:
    envs = ["Pendulum-v1", "InvertedPendulum-v5"]
    assert [(r["env"], r["seed"], r["steps"]) for r in rows(meta_trained)] == [
        (env, seed, steps) for seed in (0, 1) for steps in (0, 200) for env in envs
    ]
    found = facts(meta_trained)
    assert (found["rule"], found["phase"], found["environments"]) == ("rl2", "train", envs)
    assert found["padding"] == {"observations": 4, "actions": 1}


def test_rl2_is_tested_in_an_environment_it_never_saw(
    run: Run, rows: Rows, meta_trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "test"
    line = ["test", "--objective", meta_trained, "--env", "MountainCarContinuous-v0"]
    words = [*line, "--seeds", 1, "--eval-episodes", 1, "--run-dir", run_dir]
    assert run(*words, "--steps", 1_500, "--eval-every", 1_000) == 0
    assert [(r["label"], r["steps"]) for r in rows(run_dir)] == [
        ("rl2", 0), ("rl2", 1_000), ("rl2", 1_500)
    ]  # fmt: skip
    assert len({r["return_mean"] for r in rows(run_dir)}) == 1  # its weights do not change
    found = facts(run_dir)
    assert (found["phase"], found["seen"], found["policies"]) == ("test", False, 2)
    assert (run_dir / "policies" / "seed-1.policy").is_dir()
    shown = capsys.readouterr().out
    assert "not seen in meta-training" in shown
    assert "return of a trial's last episode" in shown
    assert "untrained" not in shown


def test_what_an_rl2_run_cannot_be_tested_with_is_refused(
    run: Run, meta_trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["test", "--objective", meta_trained, "--run-dir", tmp_path / "t", "--env"]
    for words, complaint in [
        (["Hopper-v5"], "env: got 'Hopper-v5' (11 observations, 3 actions), allowed: at most 4 an"),
        (["Pendulum-v1", "--version", "last"], "version: got 'last', allowed: nothing; "),
        (["Pendulum-v1", "--lstm-units", "8"], "architecture: got {'lstm_units': 8}, allowed: no"),
        (["Pendulum-v1", "--gamma", "0.9"], "agent: got {'gamma': 0.9}, allowed: nothing; "),
    ]:
        assert run(*line, *words) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {complaint}")
        assert error.count("\n") == 1
    assert not (tmp_path / "t").exists()


def test_what_a_resumed_rl2_run_is_not_is_refused(
    run: Run, meta_trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, complaint in [
        (["--env", "Pendulum-v1"], "env: got 'Pendulum-v1', allowed: nothing beside the envi"),
        (["--algo", "td3"], "algo: got 'td3', allowed: 'rl2', as in the run being resumed"),
    ]:
        assert run("baseline", "--resume", "--run-dir", meta_trained, *words) == 2
        assert capsys.readouterr().err.startswith(f"error: {complaint}")


def test_an_rl2_run_that_was_never_finished_is_refused(
    run: Run, meta_trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "objective.json").write_bytes((meta_trained / "objective.json").read_bytes())
    (tmp_path / "seeds").mkdir()
    line = ["test", "--objective", tmp_path, "--env", "Pendulum-v1", "--run-dir", tmp_path / "t"]
    assert run(*line) == 2
    assert "no finished rl2 policy in it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("td3", "env: missing, allowed: text"),
        ("td3 --envs Pendulum-v1 --env Pendulum-v1", "envs: got ('Pendulum-v1',), allowed: noth"),
        ("ppo --phase train --env Pendulum-v1", "phase: got 'train', allowed: nothing with ppo"),
        ("rl2 --phase test --env Pendulum-v1", "--phase: got 'test', allowed: train"),
        ("rl2 --phase train", "envs: got (), allowed: training environments, or --env for a"),
        ("rl2 --envs Pendulum-v1 Pendulm-v1", "envs: got 'Pendulm-v1', allowed: the id of an in"),
        ("rl2 --envs Hopper-v5 --rl2.pad-actions 2", "env: got 'Hopper-v5' (11 observations, 3"),
        ("ppo --env Pendulum-v1 --steps 999", "rollout_steps: got 1000, allowed: at most steps"),
        (
            "td3 --env Pendulum-v1 --sac.initial-temperature 3",
            "sac.initial_temperature: got 3.0, allowed: 1.0 with td3, which does not read it",
        ),
        ("ppo --env Pendulum-v1 --ppo.clip 0", "clip: got 0.0, allowed: a number > 0"),
        ("ppo --env Pendulum-v1 --transitions 9", "transitions: got 9, allowed: 0 with ppo; td3"),
        ("td3 --env Pendulum-v1 --transitions 100001", "transitions: got 100001, allowed: at mo"),
        ("rl2 --env Pendulum-v1 --rl2.lstm-units 0", "lstm_units: got 0, allowed: a number >= 1"),
    ],
)
def test_mistakes_are_refused(line: str, complaint: str, refusal: Refusal) -> None:
    assert refusal(f"baseline --run-dir out --algo {line}").startswith(complaint)


def test_single_transitions_are_segments_of_one_step(started: list[Any]) -> None:
    main(
        [
            "baseline",
            "--algo",
            "td3",
            "--env",
            "Pendulum-v1",
            "--run-dir",
            "out",
            "--transitions",
            "256",
        ]
    )
    (config,) = started
    assert isinstance(config, BaselineConfig)
    agent = agent_for("td3", config.agent, config.transitions)
    assert (agent.segment_length, agent.batch_size, agent.learning_starts) == (1, 256, 256)
    ddpg = agent_for("ddpg", AgentConfig(learning_starts=900), 256)
    assert (ddpg.batch_size, ddpg.learning_starts, ddpg.policy_delay) == (256, 900, 1)


def test_every_algorithm_has_its_traits() -> None:
    assert list(BASELINES) == list(Algorithm.__args__)  # type: ignore[attr-defined]
