"""A round of several members: one call for those that can, plain steps for the others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from metagenrl.agents import round as rounds
from metagenrl.agents.member import Member

METHODS = [
    {},
    {"inner_reduction": "mean", "action_penalty": 0.05},
    {"gradient_scaling": "normalize", "reflect_actions": True},
]


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_the_call_does_what_the_steps_do(member_config, alphas, monkeypatch, method):
    config = member_config(anneal_steps=0, **method)
    members, twins = ([Member(replace(config, index=i)) for i in range(2)] for _ in range(2))
    learned = 0
    for version in range(20):
        for one, twin in zip(members, twins, strict=True):  # rounding must not add up
            twin.load_state_dict(one.state_dict())
        got = rounds.play(members, alphas(version), version, version)
        with monkeypatch.context() as patch:
            patch.setattr(Member, "updates_fused", lambda *_: False)
            want = rounds.play(twins, alphas(version), version, version)
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


def test_one_call_for_all_that_are_not_annealed(member_config, alphas, monkeypatch):
    """An annealed policy has another loss, which is put together in plain steps."""
    calls, original, plain = [], rounds.update_policies, Member.update_policy
    monkeypatch.setattr(
        rounds,
        "update_policies",
        lambda *given: calls.append(len(given[-1])) or original(*given),
    )
    monkeypatch.setattr(
        Member, "update_policy", lambda self, alpha: calls.append(self) or plain(self, alpha)
    )
    config = member_config(anneal_steps=30)
    members = [Member(replace(config, index=i)) for i in range(3)]
    alpha = alphas(0)
    while members[1].rollout.life_steps < 30:
        rounds.play(members[1:], alpha, 0, 0)
    while not members[0].ready:
        members[0].round(alpha, 0, 0)
    calls.clear()
    rounds.play(members, alpha, 0, 0)
    assert calls == [members[0], 2]


def test_more_inner_steps_than_one_go_without_it(member_config, alphas, monkeypatch):
    monkeypatch.setattr(rounds, "update_policies", None)
    member = Member(member_config(anneal_steps=0, inner_steps=2))
    while member.round(alphas(0), 0, 0).gradient is None:
        pass


def test_an_error_in_the_call_is_that_of_all_who_were_in_it(member_config, alphas, monkeypatch):
    config = member_config(anneal_steps=0)
    members = [Member(replace(config, index=i)) for i in range(3)]
    alpha = alphas(0)
    for _ in range(10):
        rounds.play(members[:2], alpha, 0, 0)

    def broken(*_):
        raise MemoryError("no room")

    monkeypatch.setattr(rounds, "update_policies", broken)
    results = rounds.play(members, alpha, 0, 0)
    assert [isinstance(result, MemoryError) for result in results] == [True, True, False]
    assert results[2].gradient is None, "its buffer fills"


def test_a_member_whose_policys_gradient_is_not_finite_is_lost_alone(member_config, alphas):
    config = member_config(anneal_steps=0)
    members = [Member(replace(config, index=i)) for i in range(2)]
    for _ in range(10):
        rounds.play(members, alphas(0), 0, 0)
    members[0].rollout.buffer._rewards[:] = np.inf
    results = rounds.play(members, alphas(0), 0, 0)
    assert isinstance(results[0], FloatingPointError)
    assert "the policy's gradient" in str(results[0])
    assert results[1].gradient is not None
