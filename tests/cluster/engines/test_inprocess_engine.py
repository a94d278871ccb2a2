"""The engine in this process: who plays together, and what comes of who raises."""

from __future__ import annotations

import dataclasses

import pytest

from metagenrl.agents import cohort as module
from metagenrl.agents.member import Member
from metagenrl.cluster.engines.in_process import InProcessEngine
from metagenrl.cluster.engines.interface import AgentLost, Completed, Lost
from metagenrl.cluster.engines.placement import hosts_of
from metagenrl.cluster.parts import engine_of, prepare_store
from metagenrl.cluster.population.roster import Roster
from metagenrl.runs.config.presets import PRESETS

ENVS = ("Pendulum-v1", "MountainCarContinuous-v0")


@pytest.fixture
def engine(tmp_path):
    config = dataclasses.replace(
        PRESETS["quickstart"].train, envs=ENVS, agents=5, run_dir=tmp_path, engine="inprocess"
    )
    prepare_store(config, "run", None)
    engine = engine_of(config, "run", hosts_of(config, None))
    assert isinstance(engine, InProcessEngine)
    for seat in Roster(config, "run").seats:
        engine.start_agent(seat.config, 0, None)
    assert len(engine.started(0.0)) == 5
    yield engine
    engine.close()


@pytest.fixture
def groups(monkeypatch):
    """The agents of every call of `play`."""
    found, play = [], module.play

    def recorded(backend, members, *arguments):
        found.append([member.config.index for member in members])
        return play(backend, members, *arguments)

    monkeypatch.setattr(module, "play", recorded)
    return found


def test_agents_of_one_environment_and_broadcast_play_together(engine, groups):
    first = engine.exchange([], [], close=False).broadcast
    second = dataclasses.replace(first, round=first.round + 1)
    for agent, broadcast in enumerate((first, first, first, first, second)):
        engine.begin_round(agent, broadcast, ahead=True)
    results = engine.poll(1.0, everyone=True)
    assert groups == [[0, 2], [1, 3], [4]]
    assert sorted(result.agent for result in results) == [0, 1, 2, 3, 4]
    assert engine.poll(1.0, everyone=True) == []


def test_one_at_a_time_where_the_first_answer_is_waited_for(engine, groups):
    broadcast = engine.exchange([], [], close=False).broadcast
    for agent in range(5):
        engine.begin_round(agent, broadcast, ahead=True)
    assert [result.agent for result in engine.poll(1.0, everyone=False)] == [0]
    assert groups == [[0]]


def test_who_raises_is_lost_alone(engine, monkeypatch):
    broadcast, report = engine.exchange([], [], close=False).broadcast, Member.report

    def broken(member, *arguments):
        if member.config.index == 2:
            raise RuntimeError("the wheel came off")
        return report(member, *arguments)

    monkeypatch.setattr(Member, "report", broken)
    for agent in range(5):
        engine.begin_round(agent, broadcast, ahead=True)
    results = {result.agent: result for result in engine.poll(1.0, everyone=True)}
    lost = results.pop(2)
    assert isinstance(lost, Lost)
    assert lost.reason == "RuntimeError('the wheel came off')"
    assert "in broken" in lost.detail
    assert all(isinstance(result, Completed) for result in results.values())
    assert len(results) == 4
    with pytest.raises(AgentLost):
        engine.agent_state(2)
