"""Populations that are scaled, paused and stopped while they train, and resumed afterwards."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from metagenrl.base.files.checkpoint_folder import read_folder
from metagenrl.cluster import training
from metagenrl.cluster.control.desk import Answer, ControlDesk, Request
from metagenrl.objective_server.agent_table import agents_of
from metagenrl.objective_server.snapshots.find import find_snapshot
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.runs.checkpoints import Checkpoints
from metagenrl.runs.config.presets import PRESETS
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.metrics_file import Metrics, read_metrics

STEPS = 300
Script = Mapping[int, Request]
Run = Callable[..., dict[str, Answer]]


class ScriptedDesk(ControlDesk):
    """Asks for something before the n-th time that the population looks, as `script` says."""

    def __init__(self, script: Script) -> None:
        super().__init__(None)
        self._script, self._looks = script, 0
        self.answers: dict[str, Answer] = {}

    def requests(self) -> list[Request]:
        self._looks += 1
        return [self._script[self._looks]] if self._looks in self._script else []

    def answer(self, request, outcome, message) -> None:
        self.answers[request.id] = Answer(request.id, outcome, message)


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> TrainConfig:
    preset = PRESETS["quickstart"].train
    agent = dataclasses.replace(
        preset.agent, hidden_units=16, batch_size=8, learning_starts=40, random_steps=60
    )
    meta = dataclasses.replace(preset.meta, lifetime=150, lifetime_random_steps=50)
    return dataclasses.replace(
        preset, agents=3, steps=STEPS, wandb="disabled", engine="inprocess", agent=agent, meta=meta,
        envs=("Pendulum-v1", "InvertedDoublePendulum-v5"), keep_checkpoints=100,
        checkpoint_every=100, snapshot_every=25, log_every=50,
    )  # fmt: skip


def with_script(config: TrainConfig, script: Script) -> dict[str, Answer]:
    """Train in this process with a script of requests; the answers by request."""
    desk = ScriptedDesk(script)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "ControlDesk", lambda mailbox, driver: desk)
        assert training.train(config) == 0
    return desk.answers


@pytest.fixture
def run(config) -> Run:
    """`with_script` of the tests' configuration, changed."""

    def train(run_dir: Path, script: Script | None = None, **changes) -> dict[str, Answer]:
        return with_script(dataclasses.replace(config, run_dir=run_dir, **changes), script or {})

    return train


def last(run_dir: Path) -> ObjectiveSnapshot:
    return ObjectiveSnapshot.load(find_snapshot(run_dir, "last"))


def resumed_from(run_dir: Path, checkpoint: str, folder: Path) -> Path:
    """A copy of a run as if it had been killed after that checkpoint."""
    shutil.copytree(run_dir, folder)
    for path in (folder / "checkpoints").iterdir():
        if path.name > checkpoint:
            shutil.rmtree(path)
    shutil.rmtree(folder / "objectives")
    assert (folder / "checkpoints" / checkpoint).exists()
    return folder


def events(metrics: Metrics) -> list[tuple[str, int | None]]:
    return [(event.what, event.agent) for event in metrics.events if event.what != "checkpoint"]


def agent_rows(run_dir: Path) -> list[tuple[object, ...]]:
    rows = read_metrics(run_dir).agents
    return [(r.agent, r.steps, r.life, r.incarnation, r.state, r.return_mean, r.q) for r in rows]


@pytest.fixture(scope="module")
def reference(config, tmp_path_factory) -> Path:
    """A run that nobody disturbed."""
    run_dir = tmp_path_factory.mktemp("reference") / "run"
    assert training.train(dataclasses.replace(config, run_dir=run_dir)) == 0
    return run_dir


UP, DOWN, BACK = Request("scale", 5), Request("scale", 2), Request("scale", 4, rejoin=True)
SCALED = {40: UP, 80: DOWN, 110: BACK}


@pytest.fixture(scope="module")
def scaled(config, tmp_path_factory) -> Path:
    """A run whose population grew, shrank and grew again."""
    run_dir = tmp_path_factory.mktemp("scaled") / "run"
    answers = with_script(dataclasses.replace(config, run_dir=run_dir), SCALED)
    messages = [answers[request.id].message for request in (UP, DOWN, BACK)]
    assert messages == ["now 5 agents", "now 2 agents", "now 4 agents"]
    assert {answer.outcome for answer in answers.values()} == {"done"}
    return run_dir


def test_agents_join_leave_and_come_back(scaled) -> None:
    metrics = read_metrics(scaled)
    assert [event for event in events(metrics) if event[0] != "rebirth"] == [
        ("joined", 3), ("joined", 4), ("scaled", None),
        ("left", 2), ("left", 3), ("left", 4), ("scaled", None),
        ("joined", 2), ("joined", 3), ("scaled", None),
    ]  # fmt: skip
    versions = [row.version for row in metrics.objective]
    assert versions == list(range(1, versions[-1] + 1))
    envs = {row.agent: row.env for row in metrics.agents}
    assert [envs[agent] for agent in range(5)] == [
        "Pendulum-v1", "InvertedDoublePendulum-v5", "Pendulum-v1", "InvertedDoublePendulum-v5",
        "Pendulum-v1",
    ]  # fmt: skip
    final = {row.agent: row for row in metrics.agents}
    # The 40th look comes before the 40th round, of two steps each: 39 rounds are done.
    assert (final[0].steps, final[1].steps) == (STEPS, STEPS)
    assert final[4].steps == 2 * (80 - 40)  # joined before round 40, left before round 80
    # Away for 30 rounds, they go on as they were and end with the others.
    assert final[2].steps == STEPS - 2 * 30
    assert final[3].steps == STEPS - 2 * 30 - 2 * 39
    assert (final[2].incarnation, final[3].incarnation, final[4].incarnation) == (1, 1, 0)
    contributors = {row.round: row.contributors for row in metrics.objective}
    assert (contributors[37], contributors[74], contributors[79]) == (3, 5, 2)


def test_what_leaving_agents_leave_behind(scaled) -> None:
    (left,) = (scaled / "left" / "agent-0004").iterdir()
    state = read_folder(left)["agent"]
    assert (state["steps"], state["incarnation"]) == (80, 0)
    assert len(state["rollout"]["buffer"]["rewards"]) == 80


@pytest.mark.parametrize("checkpoint", ["round-000000039", "round-000000079", "round-000000109"])
def test_resume_after_scaling_is_exact(checkpoint, scaled, run, tmp_path, config) -> None:
    """Killed right after an acknowledged change of size, or later: the same bits, agents, rows."""
    folder = resumed_from(scaled, checkpoint, tmp_path / "killed")
    looks = int(checkpoint.split("-")[1]) + 1  # that the first process had had
    script = {at - looks + 1: what for at, what in SCALED.items() if at > looks}
    run(folder, script, resume=folder)
    assert last(folder).version == last(scaled).version
    assert last(folder).alpha.tobytes() == last(scaled).alpha.tobytes()
    assert agent_rows(folder) == agent_rows(scaled)
    resumed, wanted = read_metrics(folder), read_metrics(scaled)
    assert [r.contributors for r in resumed.objective] == [r.contributors for r in wanted.objective]
    assert events(resumed) == events(wanted)


def test_newcomers_do_not_share_streams_with_who_sat_there_before(run, tmp_path) -> None:
    script = {20: Request("scale", 2), 60: Request("scale", 3)}
    run(tmp_path / "run", script, steps=160)
    rows = [r for r in read_metrics(tmp_path / "run").agents if r.agent == 2]
    first = next(r for r in rows if r.incarnation == 0)
    second = next(r for r in rows if r.incarnation == 1)
    (left,) = (tmp_path / "run" / "left" / "agent-0002").iterdir()
    before = read_folder(left)["agent"]["rollout"]["buffer"]["actions"][:30]
    newest = max((tmp_path / "run" / "checkpoints").iterdir())
    after = read_folder(newest, ["agent-0002"])["agent-0002"]["rollout"]["buffer"]["actions"][:30]
    assert not np.array_equal(before, after)
    assert (first.steps, second.life) == (38, 0)


@pytest.mark.parametrize(
    ("script", "outcomes"),
    [
        ({5: Request("scale", 1)}, [("refused", "agents: got 1, allowed: at least 2, one an e")]),
        ({5: Request("resume")}, [("done", "running already, in round 4")]),
    ],
)
def test_what_cannot_be_is_refused(script, outcomes, run, tmp_path) -> None:
    answers = run(tmp_path / "run", script, steps=100)
    assert [a.outcome for a in answers.values()] == [outcome for outcome, _ in outcomes]
    for answer, (_, start) in zip(answers.values(), outcomes, strict=True):
        assert answer.message.startswith(start)


def test_a_paused_run_waits_and_is_otherwise_the_same(run, reference, tmp_path) -> None:
    pause, resume = Request("pause"), Request("resume")
    answers = run(tmp_path / "run", {30: pause, 40: resume})
    assert answers[pause.id].message == "paused in round 29"
    assert answers[resume.id].message == "resumed in round 29"  # it looked ten times meanwhile
    assert last(tmp_path / "run").alpha.tobytes() == last(reference).alpha.tobytes()
    assert agent_rows(tmp_path / "run") == agent_rows(reference)


def test_a_stopped_run_goes_on_to_the_same_end(run, reference, tmp_path, capsys) -> None:
    stop = Request("stop")
    folder = tmp_path / "run"
    answers = run(folder, {72: stop})
    assert answers[stop.id].message == "stopped with a checkpoint of round 71"
    assert (folder / "checkpoints" / "round-000000071").exists()
    assert last(folder).version < last(reference).version
    assert f"to go on with it: metagenrl train --resume {folder}" in capsys.readouterr().out
    run(folder, resume=folder)
    assert last(folder).alpha.tobytes() == last(reference).alpha.tobytes()
    assert [r.version for r in read_metrics(folder).objective] == [
        r.version for r in read_metrics(reference).objective
    ]


def test_a_run_that_cannot_be_saved_is_not_stopped(run, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(Checkpoints, "save", lambda *arguments: False)  # as where a disk is full
    stop, grow = Request("stop"), Request("scale", 4)
    answers = run(tmp_path / "run", {10: stop, 20: grow}, steps=100)
    assert answers[stop.id].outcome == "failed"
    assert "the run goes on" in answers[stop.id].message
    assert answers[grow.id].outcome == "done"
    assert "a kill would undo it" in answers[grow.id].message
    assert max(row.steps for row in read_metrics(tmp_path / "run").agents) == 100


def test_asynchronous_agents_deliver_before_they_leave(run, tmp_path, config) -> None:
    server = dataclasses.replace(config.server, staleness_bound=4, quorum=0.5)
    leave = Request("scale", 2)
    answers = run(tmp_path / "run", {120: leave}, server=server, steps=200)
    assert answers[leave.id].message == "now 2 agents"
    newest = max((tmp_path / "run" / "checkpoints").iterdir())
    agents = read_folder(newest, ["server"])["server"]["agents"]
    record = agents_of(agents)[2]._asdict()
    refused = ("stale", "duplicate", "future", "non_finite", "zero", "quarantined")
    assert record["sent"] == record["accepted"] + sum(record[reason] for reason in refused)
    (left,) = (tmp_path / "run" / "left" / "agent-0002").iterdir()
    steps = read_folder(left)["agent"]["steps"]
    assert record["sent"] == steps // 2 - 40 // 2 + 1  # every round from learning_starts on
