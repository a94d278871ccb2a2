"""Agents side by side do what each does alone, with one call at a time for each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from metagenrl.agents.experience.rollout import EnvironmentFailed
from metagenrl.agents.individual import Individual
from metagenrl.agents.lockstep import step_and_learn
from metagenrl.agents.member import Member, MemberConfig
from metagenrl.agents.preparation import Preparation
from metagenrl.agents.round import prepare

WIDE = 136  # units: not as one C call


def _individual(config: MemberConfig, index: int, breaks: Callable[[int], bool]) -> Individual:
    """Its environment raises in the steps that `breaks` says, counted from 1."""
    individual = Individual(replace(config, index=index))
    environment, calls = individual.rollout.environment._env, 0
    step = environment.step

    def flaky(action):
        nonlocal calls
        calls += 1
        if breaks(calls):
            raise OSError(f"step {calls} failed")
        return step(action)

    environment.step = flaky
    return individual


def _alone(individual: Individual) -> Preparation:
    individual.episodes, critic, agent = (), None, individual.config.agent
    for _ in range(agent.policy_delay):
        individual.take_step(individual.actor_critic.act)
        if individual.ready:
            batch = individual.rollout.sample(agent.batch_size).batch()
            critic = individual.actor_critic.update_critic(batch)
    return Preparation(individual.episodes, critic)


def _assert_equal(one: object, other: object) -> None:
    np.testing.assert_equal(one, other)


@pytest.mark.parametrize("units", [6, WIDE])
def test_each_does_what_it_does_alone(member_config, units):
    """Also where an episode breaks off in the middle of a step, or an agent gives up."""
    config = member_config(hidden_units=units, random_steps=5)
    breaks = [lambda _: False, lambda call: call in (3, 14, 21, 22), lambda call: call > 30]
    together, apart = (
        [_individual(config, index, faulty) for index, faulty in enumerate(breaks)]
        for _ in range(2)
    )
    playing, learned, lost = [0, 1, 2], 0, None
    for _ in range(20):
        results = step_and_learn([together[i] for i in playing])
        for i, result in zip(list(playing), results, strict=True):
            if isinstance(result, Exception):
                assert isinstance(result, EnvironmentFailed)
                with pytest.raises(EnvironmentFailed):
                    _alone(apart[i])
                playing.remove(i)
                lost = i
                continue
            assert result == _alone(apart[i])
            learned += result.critic is not None
        assert {len(one.rollout.buffer) for one in together[:2]} == {together[0].rollout.life_steps}
    assert (playing, lost) == ([0, 1], 2)
    assert learned > 20
    for one, other in zip(together, apart, strict=True):
        _assert_equal(one.state_dict(), other.state_dict())


def test_what_they_compute_is_one_call_for_all(member_config, monkeypatch):
    from metagenrl.agents import lockstep

    calls = []
    for name in ("act", "update_critics"):
        original = getattr(lockstep, name)

        def counted(agents, *arguments, name=name, original=original):
            calls.append((name, len(agents)))
            return original(agents, *arguments)

        monkeypatch.setattr(lockstep, name, counted)
    individuals = [Individual(replace(member_config(), index=i)) for i in range(3)]
    delay = individuals[0].config.agent.policy_delay
    while not individuals[0].ready:
        step_and_learn(individuals)
    calls.clear()
    step_and_learn(individuals)
    assert calls == [("act", 3), ("update_critics", 3)] * delay


def test_an_error_in_a_call_for_all_loses_all_of_them(member_config, alphas, monkeypatch):
    """It is nobody's own, and each stopped in the middle of its steps."""
    from metagenrl.agents import lockstep

    members = [Member(replace(member_config(), index=i)) for i in range(2)]

    def broken(*_):
        raise MemoryError("no room")

    monkeypatch.setattr(lockstep, "update_critics", broken)
    for version in range(10):
        prepare(members)
        if members[0]._failure:
            break
        for member in members:
            member.round(alphas(0), 0, version)
    for member in members:
        with pytest.raises(MemoryError, match="no room"):
            member.state_dict()
        with pytest.raises(MemoryError, match="no room"):
            member.round(alphas(0), 0, 0)
