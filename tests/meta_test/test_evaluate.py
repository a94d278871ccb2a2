"""Meta-tests and baselines from the command line: real processes, some of them killed."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml

from metagenrl.learner.hyperparams import AgentConfig, ObjectiveConfig
from metagenrl.learner.objective.net import initial_alpha
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.runs.config.lone_agents import BaselineConfig
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import to_dict, to_yaml

Run = Callable[..., int]
Rows = Callable[[Path], list[dict[str, Any]]]
Start = Callable[..., "subprocess.Popen[bytes]"]

ARCHITECTURE = ObjectiveConfig(lstm_units=4, hidden_units=4, input_features=2)
AGENT = AgentConfig(
    hidden_units=16, batch_size=8, segment_length=4, random_steps=40, learning_starts=30,
    replay_capacity=2_000,
)  # fmt: skip
SIZES = (
    "--seeds 2 --workers 2 --hidden-units 16 --batch-size 8 --segment-length 4 --random-steps 40 "
    "--learning-starts 30 --replay-capacity 2000 --eval-episodes 1 --action-penalty 0"
)
LONG = f"{SIZES} --steps 500 --eval-every 20".split()  # a checkpoint every 200 steps


def outcome(run_dir: Path) -> dict[str, bytes]:
    """What a run computed, by file."""
    files = [run_dir / "evaluations.jsonl", *sorted((run_dir / "seeds").glob("*.jsonl"))]
    return {file.name: file.read_bytes() for file in files}


@pytest.fixture
def meta_trained(tmp_path: Path) -> Path:
    """The folder of a meta-training run in Pendulum-v1 with a snapshot of version 30."""
    run_dir = tmp_path / "meta-training"
    config = TrainConfig(
        envs=("Pendulum-v1",), run_dir=run_dir, agent=AGENT, objective=ARCHITECTURE
    )
    (run_dir / "objectives").mkdir(parents=True)
    (run_dir / "config.yaml").write_text(to_yaml(config))
    alpha = initial_alpha(ARCHITECTURE, torch.Generator().manual_seed(1)).numpy()
    facts = to_dict(ARCHITECTURE)
    snapshot = ObjectiveSnapshot(alpha, 30, facts, ("Pendulum-v1",), steps=4_000, run="r")
    snapshot.save(run_dir / "objectives" / "objective-00000030.safetensors")
    return run_dir


@pytest.fixture(scope="module")
def uninterrupted(run: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The outcome of a random control that nothing happened to."""
    run_dir = tmp_path_factory.mktemp("uninterrupted") / "run"
    assert run(*control(run_dir)) == 0
    return outcome(run_dir)


def test_a_learned_objective_trains_new_agents(
    run: Run, rows: Rows, tmp_path: Path, meta_trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "test"
    line = ["test", "--objective", meta_trained, "--env", "Pendulum-v1", "--run-dir", run_dir]
    assert run(*line, "--seeds", "2", "--steps", "250", "--eval-every", "100") == 0
    label = "learned objective v30"
    assert [(row["label"], row["env"], row["seed"], row["steps"]) for row in rows(run_dir)] == [
        (label, "Pendulum-v1", seed, steps) for seed in (0, 1) for steps in (0, 100, 200, 250)
    ]
    for row in rows(run_dir):
        returns = row["returns"]
        assert isinstance(returns, list)
        assert len(returns) == 5
        assert row["return_mean"] == sum(returns) / 5
    facts = json.loads((run_dir / "objective.json").read_text())
    snapshot = ObjectiveSnapshot.load(run_dir / "objective.safetensors")
    assert facts["checksum"] == snapshot.checksum
    assert (facts["label"], facts["version"], facts["seen"]) == (label, 30, True)
    assert facts["file"] == str(meta_trained / "objectives" / "objective-00000030.safetensors")
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    assert config["agent"] == to_dict(AGENT)
    assert config["architecture"] == to_dict(ARCHITECTURE)
    episodes = [
        json.loads(text)
        for text in (run_dir / "seeds" / "seed-1.jsonl").read_text().splitlines()
        if json.loads(text)["kind"] == "episode"
    ]
    assert [(row["steps"], row["length"]) for row in episodes] == [(200, 200)]
    shown = capsys.readouterr().out
    assert f"{label} in Pendulum-v1 (seen in meta-training): 2 seeds of 250 steps" in shown
    assert "2 of 2 finished" in shown
    assert not list((run_dir / "seeds").glob("*.checkpoints"))
    assert (run_dir / "curves.png").read_bytes().startswith(b"\x89PNG")


SIGN = "seeds/*.checkpoints/step-*/manifest.json"


def control(run_dir: Path) -> list[str]:
    """The words of a command with a random objective."""
    return ["test", "--objective", "random", "--env", "Pendulum-v1", "--run-dir", str(run_dir),
            *LONG]  # fmt: skip


def test_a_killed_command_goes_on_to_the_same_bits(
    run: Run, start: Start, tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    run_dir = tmp_path / "run"
    parent = start(control(run_dir), run_dir, SIGN)
    children = psutil.Process(parent.pid).children(recursive=True)
    assert len(children) == 2
    parent.kill()
    parent.communicate(timeout=300)
    assert psutil.wait_procs(children, timeout=300)[1] == []  # no orphan writes on
    assert not (run_dir / "evaluations.jsonl").exists()
    assert run(*control(run_dir), "--resume", "--workers", "1") == 0
    logs = "".join(path.read_text() for path in run_dir.glob("seeds/*.log"))
    assert re.search("going on from step [24]00", logs)
    assert outcome(run_dir) == uninterrupted


def test_an_interrupted_command_ends_its_processes(
    rows: Rows, start: Start, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    parent = start(
        [*control(run_dir), "--steps", "100000"], run_dir, SIGN
    )  # not over before it is interrupted
    children = psutil.Process(parent.pid).children(recursive=True)
    # The terminal's Ctrl-C must not reach the agents' processes, or each would report a failure.
    assert all(os.getpgid(child.pid) != parent.pid for child in children)
    os.killpg(parent.pid, signal.SIGINT)  # as a terminal does it: to all in the foreground
    out, err = parent.communicate(timeout=300)
    assert len(children) == 2
    assert psutil.wait_procs(children, timeout=300)[1] == []
    assert parent.returncode == 130
    told, ended = err.decode().splitlines()
    assert told == "SIGINT: each agent saves its state (again: at once)"
    assert ended.startswith("ended by SIGINT, go on with: metagenrl test ")
    assert ended.endswith(" --resume")
    saved = run_dir.glob("seeds/seed-*.checkpoints/step-*")
    assert len({path.parent for path in saved}) == 2  # each agent's state
    assert "failed" not in out.decode()
    assert len(rows(run_dir)) > 10  # what there is, is collected


def test_the_control_is_another_one_for_each_seed(uninterrupted: dict[str, bytes]) -> None:
    final = [json.loads(line) for line in uninterrupted["evaluations.jsonl"].splitlines()]
    assert {row["label"] for row in final} == {"random objective"}
    last = [row["return_mean"] for row in final if row["steps"] == 500]
    assert len(set(last)) == 2


FRAGILE = """
import os, signal
import gymnasium
from gymnasium.envs.classic_control.pendulum import PendulumEnv

FAULTS = {"raise": lambda: 1 / 0, "die": lambda: os.kill(os.getpid(), signal.SIGKILL)}

class Fragile(PendulumEnv):
    '''The first two processes that take 50 steps in it fail, each in its own way.'''
    steps, fault = 0, None

    def step(self, action):
        Fragile.steps += 1
        if Fragile.steps == 50:
            for name in FAULTS:
                try:
                    open(os.path.join(os.environ["FAULTS"], name), "x").close()
                except FileExistsError:
                    continue
                Fragile.fault = name
                break
        if Fragile.fault:
            FAULTS[Fragile.fault]()
        return super().step(action)

gymnasium.register("Fragile-v0", entry_point=Fragile, max_episode_steps=20)
"""


def test_a_failing_seed_is_reported_and_the_others_finish(
    run: Run,
    rows: Rows,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "fragile.py").write_text(FRAGILE)
    (tmp_path / "faults").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("FAULTS", str(tmp_path / "faults"))
    run_dir = tmp_path / "run"
    line = ["baseline", "--algo", "td3", "--env", "fragile:Fragile-v0", "--run-dir", run_dir]
    sizes = [*SIZES.split(), "--seeds", "3", "--steps", "60", "--eval-every", "30"]
    assert run(*line, *sizes) == 1
    shown = capsys.readouterr().out
    assert shown.count(": failed: ") == 2
    assert ": failed: its process was killed by SIGKILL (see run.log)" in shown
    assert "ZeroDivisionError" in shown
    assert "1 of 3 finished" in shown
    log = (run_dir / "run.log").read_text()
    assert "Traceback (most recent call last)" in log
    assert "ZeroDivisionError: division by zero" in log
    assert [row["steps"] for row in rows(run_dir)].count(60) == 1
    assert run(*line, *sizes, "--resume") == 0  # the failed seeds start again
    assert [row["steps"] for row in rows(run_dir)] == [0, 30, 60] * 3
    assert {row["label"] for row in rows(run_dir)} == {"td3"}


@pytest.fixture
def stored_baseline(tmp_path: Path) -> Path:
    """The folder of a baseline that was stopped before it did anything."""
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    config = BaselineConfig(env="Pendulum-v1", run_dir=run_dir, algo="td3", agent=AGENT)
    (run_dir / "config.yaml").write_text(to_yaml(config))
    return run_dir


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (
            "baseline --algo td3",
            "run_dir: got '{run}' (holds another run), allowed: a new folder, ",
        ),
        ("baseline --algo ddpg --resume", "algo: got 'ddpg', allowed: 'td3', as in the run being"),
        ("baseline --algo td3 --gamma 0.5 --resume", "agent.gamma: got 0.5, allowed: 0.99, as in"),
        (
            "test --objective random --resume",
            "run_dir: got '{run}' (a run of `metagenrl baseline`, which ",
        ),
        (
            "baseline --algo td3 --resume --run-dir none",
            "run_dir: got 'none' (no such folder), allowed: the folder of a run",
        ),
    ],
)
def test_a_folder_of_something_else_is_refused(
    run: Run, line: str, complaint: str, stored_baseline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = [*SIZES.split(), "--seeds", "5", "--steps", "1000000", "--eval-episodes", "5"]
    given = ["--env", "Pendulum-v1", "--run-dir", stored_baseline]
    before = sorted(stored_baseline.iterdir())
    assert run(line.split()[0], *given, *sizes, *line.split()[1:]) == 2
    error = capsys.readouterr().err.removeprefix("error: ")
    assert error.startswith(complaint.format(run=stored_baseline))
    assert error.count("\n") == 1
    assert sorted(stored_baseline.iterdir()) == before
