"""A round of several members on the backends: together as alone, whole calls as plain steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from metagenrl.agents.backend.interface import Setting
from metagenrl.agents.backend.native import Native
from metagenrl.agents.backend.reference import Reference
from metagenrl.agents.experience.failures import EnvironmentFailed
from metagenrl.agents.member import Member
from metagenrl.agents.round import play, prepare
from metagenrl.learner.objective.net import ObjectiveNet
from metagenrl.learner.policy_update import Learned

METHODS = [
    {},
    {"inner_reduction": "mean", "action_penalty": 0.05},
    {"gradient_scaling": "normalize", "reflect_actions": True},
]


WIDE = 136  # units: not as one C call


class Table:
    """Members that share a backend."""

    def __init__(self, config, agents=2, kind=Native):
        self.members = [Member(replace(config, index=i)) for i in range(agents)]
        net = ObjectiveNet(config.objective)
        objective = Learned(net, torch.zeros(net.layout.size))
        setting = Setting(config.agent, self.members[0].sizes, objective, config.meta)
        self.backend = kind(setting) if kind is Native else kind(setting, agents)
        for slot, member in enumerate(self.members):
            member.slot = slot
            member.take_seat(self.backend)

    def play(self, alpha, version=0, members=None):
        return play(self.backend, members or self.members, alpha, version, version)

    def states(self):
        return [member.state_dict(self.backend) for member in self.members]


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_whole_updates_do_what_the_steps_do(member_config, alphas, method):
    config = member_config(anneal_steps=0, **method)
    table, twin = Table(config), Table(config)
    twin.backend._policies = False  # nothing but steps
    learned = 0
    for version in range(20):
        for member, state in zip(twin.members, table.states(), strict=True):
            member.load_state_dict(state)  # rounding must not add up
        got, want = (each.play(alphas(version), version) for each in (table, twin))
        for one, other in zip(got, want, strict=True):
            assert one.steps == other.steps
            if one.gradient is None:
                assert other.gradient is None
                continue
            learned += 1
            size = np.abs(other.gradient.gradient).max()
            np.testing.assert_allclose(
                one.gradient.gradient, other.gradient.gradient, atol=2e-3 * size
            )
            for name in ("objective_loss", "policy_gradient_norm", "value_after", "q", "td_loss"):
                assert getattr(one, name) == pytest.approx(getattr(other, name), rel=5e-3, abs=1e-4)
            assert one.gradient.norm == pytest.approx(other.gradient.norm, rel=5e-3)
    assert learned > 10


def _flaky(member, breaks):
    """Its environment raises in the steps that `breaks` says, counted from 1."""
    environment, calls = member.rollout.environment._env, 0
    step = environment.step

    def flaky(action):
        nonlocal calls
        calls += 1
        if breaks(calls):
            raise OSError(f"step {calls} failed")
        return step(action)

    environment.step = flaky


@pytest.mark.parametrize("units", [6, WIDE])
def test_each_does_what_it_does_alone(member_config, alphas, units):
    """Also where an episode breaks off in the middle of a step, or an agent gives up."""
    config = member_config(hidden_units=units, random_steps=5)
    kind = Native if units < WIDE else Reference
    breaks = [lambda _: False, lambda call: call in (3, 14, 21, 22), lambda call: call > 30]
    together, apart = (Table(config, 3, kind) for _ in range(2))
    for table in (together, apart):
        for member, faulty in zip(table.members, breaks, strict=True):
            _flaky(member, faulty)
    playing, learned = [0, 1, 2], 0
    for version in range(20):
        alpha = alphas(version)
        results = together.play(alpha, version, [together.members[i] for i in playing])
        for i, result in zip(list(playing), results, strict=True):
            own = apart.play(alpha, version, [apart.members[i]])[0]
            if isinstance(result, Exception):
                assert isinstance(result, EnvironmentFailed)
                assert isinstance(own, EnvironmentFailed)
                playing.remove(i)
                continue
            assert (result.td_loss, result.episodes) == (
                pytest.approx(own.td_loss, rel=0, abs=0, nan_ok=True),
                own.episodes,
            )
            learned += result.gradient is not None
    assert playing == [0, 1]
    assert learned > 20
    np.testing.assert_equal(
        [m.state_dict(together.backend) for m in together.members[:2]],
        [m.state_dict(apart.backend) for m in apart.members[:2]],
    )


def test_what_they_compute_is_one_call_for_all(member_config, alphas, monkeypatch):
    calls, table = [], Table(member_config(anneal_steps=0), 3)
    while not table.members[0].ready:
        table.play(alphas(0))
    for name in ("act", "update_critics", "update_policies"):
        original = getattr(table.backend, name)

        def counted(*given, name=name, original=original):
            calls.append((name, len(given[-1])))
            return original(*given)

        monkeypatch.setattr(table.backend, name, counted)
    table.play(alphas(0))
    acting, learning = ("act", 3), ("update_critics", 3)
    assert calls == [acting, acting, learning, learning, ("update_policies", 3)]


def test_an_error_in_a_call_for_all_loses_all_of_them(member_config, alphas, monkeypatch):
    """It is nobody's own, and each stopped in the middle of its steps."""
    table = Table(member_config())

    def broken(*_):
        raise MemoryError("no room")

    monkeypatch.setattr(table.backend, "update_critics", broken)
    for _ in range(10):
        prepare(table.backend, table.members)
        if table.members[0]._failure:
            break
        table.play(alphas(0))
    for member in table.members:
        with pytest.raises(MemoryError, match="no room"):
            member.state_dict(table.backend)
    assert all(isinstance(result, MemoryError) for result in table.play(alphas(0)))


def test_annealed_and_other_policies_take_one_call(member_config, alphas, monkeypatch):
    """An annealed policy has another loss: each row of the call has a share of its own."""
    table, shares = Table(member_config(anneal_steps=30), 3), []
    original = table.backend._update_whole

    def counted(agents, draws):
        shares.append([draw.objective_weight for draw in draws])
        return original(agents, draws)

    monkeypatch.setattr(table.backend, "_update_whole", counted)
    monkeypatch.setattr(table.backend, "_update_policy", None)
    while table.members[1].rollout.life_steps < 30:
        table.play(alphas(0), members=table.members[1:])
    while not table.members[0].ready:
        table.play(alphas(0), members=table.members[:1])
    shares.clear()
    table.play(alphas(0))
    assert len(shares) == 1
    assert shares[0][0] < 1, "the first is annealed still"
    assert shares[0][1:] == [1, 1]


def test_an_error_in_the_call_is_that_of_all_who_were_in_it(member_config, alphas, monkeypatch):
    table = Table(member_config(anneal_steps=0), 3)
    for _ in range(10):
        table.play(alphas(0), members=table.members[:2])

    def broken(*_):
        raise MemoryError("no room")

    monkeypatch.setattr(table.backend, "update_policies", broken)
    results = table.play(alphas(0))
    assert [isinstance(result, MemoryError) for result in results] == [True, True, False]
    assert results[2].gradient is None, "its buffer fills"


def test_a_member_whose_policys_gradient_is_not_finite_is_lost_alone(member_config, alphas):
    table = Table(member_config(anneal_steps=0))
    for _ in range(10):
        table.play(alphas(0))
    table.members[0].rollout.buffer._rewards[:] = np.inf
    results = table.play(alphas(0))
    assert isinstance(results[0], FloatingPointError)
    assert "the policy's gradient" in str(results[0])
    assert results[1].gradient is not None
