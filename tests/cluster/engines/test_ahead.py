"""Agents that go on ahead of the server: the same run, and never beyond what was asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from metagenrl.base.files.checkpoint_folder import read_folder
from metagenrl.cluster import parts, training
from metagenrl.cluster.control.desk import Answer, ControlDesk, Request
from metagenrl.cluster.engines.in_process import InProcessEngine
from metagenrl.cluster.engines.interface import Completed
from metagenrl.objective_server.snapshots.find import find_snapshot
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.runs.config.presets import PRESETS
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.metrics_file import read_metrics

STEPS, CHECKPOINT = 200, 80


class EagerEngine(InProcessEngine):
    """Does what actors do: an agent prepares its next round right behind the one before."""

    begun: list[tuple[int, bool]]  # agent, whether it may go on ahead

    def begin_round(self, agent, broadcast, ahead) -> None:
        super().begin_round(agent, broadcast, ahead)
        self.begun.append((agent, ahead))

    def _play(self, agents, b):
        results = super()._play(agents, b)
        done = [result.agent for result in results if isinstance(result, Completed)]
        ahead = [agent for agent in done if dict(self.begun)[agent]]
        if ahead:
            self._cohorts[self._home[ahead[0]]].prepare(ahead)
        return results


class StoppingDesk(ControlDesk):
    """Asks for the run to be stopped before a round."""

    def __init__(self, before_round: int) -> None:
        super().__init__(None)
        self._left, self.answers = before_round, []

    def requests(self) -> list[Request]:
        self._left -= 1
        return [Request("stop")] if self._left == -1 else []

    def answer(self, request, outcome, message) -> None:
        self.answers.append(Answer(request.id, outcome, message))


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> TrainConfig:
    preset = PRESETS["quickstart"].train
    agent = dataclasses.replace(
        preset.agent, hidden_units=16, batch_size=8, learning_starts=40, random_steps=60
    )
    meta = dataclasses.replace(preset.meta, lifetime=90, lifetime_random_steps=20)
    return dataclasses.replace(
        preset, agents=3, steps=STEPS, wandb="disabled", engine="inprocess", agent=agent, meta=meta,
        envs=("Pendulum-v1", "InvertedDoublePendulum-v5"), keep_checkpoints=100,
        checkpoint_every=CHECKPOINT, log_every=50,
        run_dir=tmp_path_factory.mktemp("ahead") / "reference",
    )  # fmt: skip


@pytest.fixture
def eager() -> Iterator[list[tuple[int, bool]]]:
    """Runs train with `EagerEngine`; what was begun, in order."""
    EagerEngine.begun = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "InProcessEngine", EagerEngine)
        yield EagerEngine.begun


@pytest.fixture(scope="module")
def reference(config) -> Path:
    assert training.train(config) == 0
    return config.run_dir


def _outcome(run_dir: Path) -> tuple[bytes, list[tuple[object, ...]]]:
    alpha = ObjectiveSnapshot.load(find_snapshot(run_dir, "last")).alpha
    rows = read_metrics(run_dir).agents
    return alpha.tobytes(), [(r.agent, r.steps, r.life, r.life_steps, r.return_mean) for r in rows]


def _states(run_dir: Path, round_index: int) -> list[dict[str, object]]:
    states = read_folder(run_dir / "checkpoints" / f"round-{round_index:09d}")
    return [states[f"agent-{agent:04d}"] for agent in range(3)]


def test_the_run_is_the_same_and_nothing_runs_ahead_of_checkpoints(
    config, reference, eager, tmp_path
) -> None:
    run_dir = tmp_path / "run"
    assert training.train(dataclasses.replace(config, run_dir=run_dir)) == 0
    assert _outcome(run_dir) == _outcome(reference)
    delay = config.agent.policy_delay
    held = {CHECKPOINT, 2 * CHECKPOINT, STEPS}  # steps after which the agent waits
    wanted = [after not in held for after in range(delay, STEPS + 1, delay)]
    for agent in range(3):
        assert [ahead for index, ahead in eager if index == agent] == wanted
    for round_index in (CHECKPOINT // delay, STEPS // delay):
        for mine, other in zip(
            *(_states(d, round_index) for d in (run_dir, reference)), strict=True
        ):
            assert mine["prepared"] is None
            assert mine["rollout"]["life_steps"] == other["rollout"]["life_steps"]
            np.testing.assert_array_equal(
                mine["actor_critic"]["theta"], other["actor_critic"]["theta"]
            )


def test_stopped_while_agents_are_ahead_and_resumed_without(
    config, reference, eager, tmp_path, monkeypatch
) -> None:
    run_dir, desk = tmp_path / "run", StoppingDesk(before_round=30)
    monkeypatch.setattr(training, "ControlDesk", lambda mailbox, driver: desk)
    training.train(dataclasses.replace(config, run_dir=run_dir))
    assert [answer.outcome for answer in desk.answers] == ["done"]
    for state in _states(run_dir, 30):
        assert state["prepared"] is not None
        assert state["steps"] == 60
    monkeypatch.undo()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "InProcessEngine", InProcessEngine)
        training.train(dataclasses.replace(config, run_dir=run_dir, resume=run_dir))
    assert _outcome(run_dir) == _outcome(reference)
