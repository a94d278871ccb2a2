"""`metagenrl top`: a run's status from the files that it writes, seen from another process."""

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from metagenrl.cluster.control.desk import Condition, PopulationStatus, Request
from metagenrl.cluster.view.from_folder import PublishedStatus
from metagenrl.cluster.view.status import RunStatus
from metagenrl.commands.top import SILENCE, AskedStatus, TopConfig, top
from metagenrl.runs.config.lone_agents import BaselineConfig
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import to_yaml
from metagenrl.runs.metrics_file import MetricsWriter
from metagenrl.runs.names import METRICS_FILE
from metagenrl.runs.rows import AgentRow, EventRow, ObjectiveRow

ENVS = ("Pendulum-v1", "Hopper-v5")
AGENT = AgentRow(
    time=5.0, round=3, version=2, agent=0, env=ENVS[0], incarnation=0, steps=100, life=0,
    life_steps=100, state="learning", episodes=1, return_mean=-7.5, return_last=None,
    episode_length=None, q=None, td_loss=None, objective_loss=None, policy_gradient_norm=None,
    gradient_norm=None, value_after=None, lag=0, restarts=0,
)  # fmt: skip
OBJECTIVE = ObjectiveRow(
    time=6.0, round=4, version=3, contributors=2, gradient_norm=0.5, update_norm=0.1,
    alpha_norm=18.0, cosine=0.25, cosine_by_env={}, accepted=0, rejected=0, stale=0, duplicate=0,
    agent_steps=250, agent_steps_per_s=50.0,
)  # fmt: skip
CONFIG = TrainConfig(envs=ENVS, agents=2, steps=500)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(to_yaml(replace(CONFIG, run_dir=tmp_path)))
    return tmp_path


@pytest.fixture
def publish(run: Path) -> Callable[..., None]:
    return lambda *rows: MetricsWriter(run / METRICS_FILE).write(rows)


def test_the_status_is_what_the_rows_tell(run: Path, publish) -> None:
    publish(AGENT, replace(AGENT, agent=1, env=ENVS[1], steps=120), OBJECTIVE)
    status = PublishedStatus(run, CONFIG.agent_steps).look().status
    assert (status.round, status.version, status.elapsed, status.rate) == (4, 3, 6.0, 50.0)
    assert (status.agent_steps, status.goal) == (250, 1_000)  # newer than the agents' rows
    assert status.left == 15.0
    assert [row.agent for row in status.agents] == [0, 1]
    assert (status.gradient_norm, status.cosine) == (0.5, 0.25)


def test_a_return_is_remembered_until_the_life_ends(run: Path, publish) -> None:
    source = PublishedStatus(run, CONFIG.agent_steps)
    publish(AGENT, replace(AGENT, steps=200, return_mean=None))
    assert source.look().status.agents[0].return_mean == -7.5
    publish(replace(AGENT, steps=300, life=1, return_mean=None))
    assert source.look().status.agents[0].return_mean is None


def test_events_say_in_what_condition_an_agent_is(run: Path, publish) -> None:
    source = PublishedStatus(run, CONFIG.agent_steps)
    publish(AGENT, EventRow(7.0, 5, "failed", 0, "gone"), EventRow(7.0, 5, "rebirth", 0, ""))
    assert source.look().status.agents[0].state == "failed"
    publish(replace(AGENT, steps=300))
    assert source.look().status.agents[0].state == "learning"


def test_without_a_terminal_there_are_lines(run: Path, publish) -> None:
    publish(AGENT, replace(OBJECTIVE, agent_steps=1_000))
    stream = io.StringIO()
    assert top(TopConfig(str(run)), stream) == 0
    assert stream.getvalue().startswith("100% | round 4 | version 3 | 50 agent-steps/s")
    assert "Pendulum-v1 -7.5" in stream.getvalue()


def test_a_silent_run_is_said_to_be_silent(run: Path, publish) -> None:
    stream = io.StringIO()
    top(TopConfig(str(run), once=True), stream)
    assert "nothing published yet" in stream.getvalue()
    publish(AGENT)
    os.utime(run / METRICS_FILE, (0, 0))
    top(TopConfig(str(run), once=True), stream)
    assert "no news for" in stream.getvalue()
    assert PublishedStatus(run, CONFIG.agent_steps).look().silent > SILENCE


class Asked:
    """A population that answers as if it had said so just now, or not at all."""

    def __init__(self, condition: Condition | None, run: RunStatus) -> None:
        self._condition, self._run = condition, run

    def status(self) -> PopulationStatus | None:
        if self._condition is None:
            return None
        return PopulationStatus(self._condition, 2, 2, time.time(), self._run)

    def ask(self, request: Request, timeout: float) -> None:
        raise AssertionError("top only looks")


def test_a_population_that_is_asked_says_itself_whether_it_has_ended(run: Path, publish) -> None:
    publish(AGENT)
    status = PublishedStatus(run, CONFIG.agent_steps).look().status
    going, ended = (AskedStatus(Asked(c, status)).look() for c in ("running", "ended"))
    assert (going.status, going.finished, ended.finished) == (status, False, True)
    with pytest.raises(ConnectionError, match="nothing answers"):
        AskedStatus(Asked(None, status)).look()


def test_only_meta_training_is_watched(tmp_path: Path, refusal) -> None:
    config = BaselineConfig(env="Pendulum-v1", algo="td3", run_dir=tmp_path)
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    for command in ("top", "workspace --out x.json"):
        told = refusal(f"{command} {tmp_path}")
        assert told.startswith(f"run: got {str(tmp_path)!r} (a run of `metagenrl baseline`")
        assert told.endswith("allowed: a run of `metagenrl train`")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_in_a_terminal_there_is_the_table_of_train(
    run: Path, publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    publish(AGENT, replace(AGENT, agent=1, env=ENVS[1], state="random"), OBJECTIVE)
    stream = Terminal()
    assert top(TopConfig(str(run), once=True), stream) == 0
    text = stream.getvalue()
    assert "round 4" in text
    assert "environment" in text
    assert all(env in text for env in ENVS)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("top none", "run: got 'none' (no such folder), allowed: the folder of a run"),
        ("top", "run: missing, allowed: text"),
        ("top . --interval 0", "interval: got 0.0, allowed: a number >= 0.1"),
    ],
)
def test_mistakes_are_one_line(line: str, complaint: str, refusal) -> None:
    assert refusal(line).startswith(complaint)


def test_it_follows_a_run_of_another_process_to_its_end(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train = (
        f"train --run-dir {run} --envs Pendulum-v1 --agents 2 --steps 300 --engine inprocess "
        "--wandb disabled --hidden-units 8 --batch-size 4 --learning-starts 20 --lifetime 0 "
        "--log-every 20"
    )
    command = [sys.executable, "-m", "metagenrl.commands.main"]
    with subprocess.Popen([*command, *train.split()], stderr=subprocess.DEVNULL) as trainer:
        while not (run / "config.yaml").exists():
            assert trainer.poll() is None
        watched = subprocess.run(
            [*command, "top", str(run), "--interval", "0.1"],
            capture_output=True, text=True, check=True, timeout=300,
        )  # fmt: skip
        assert trainer.wait() == 0
    lines = watched.stdout.splitlines()
    assert lines[-1].startswith("100% | ")
    rounds = [int(line.split("round ")[1].split()[0]) for line in lines]
    assert rounds == sorted(rounds)
    assert rounds[-1] >= 149  # two steps a round
