"""Lives that begin with an earlier policy of the agent (appendix A.2)."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fixtures.alone import Alone as Member

LIVES = {"first_life": 40, "lifetime": 40, "lifetime_random_steps": 6}


def run(member, alphas, rounds, start=0):
    return [member.round(alphas(i), version=i, round_index=i) for i in range(start, start + rounds)]


def test_policies_are_offered_at_each_quarter_of_a_life(member_config, alphas):
    member = Member(member_config(older_policies=0.5, **LIVES))
    run(member, alphas, 40)
    starts = member.config.agent.learning_starts
    assert starts <= 20
    wanted = [s for s in (10, 20, 30, 40) if s >= starts]
    assert member.archive.steps == [*wanted, *(40 + s for s in wanted)]


def test_a_life_begins_with_the_earlier_policy_its_critics_and_an_empty_buffer(
    member_config, alphas
):
    member = Member(member_config(older_policies=1.0, archive_size=1, **LIVES))
    run(member, alphas, 20)
    (taken,) = member.archive.steps
    (policy,) = member.archive.state_dict()["policies"].values()
    member._begin_life()
    assert member.origin == taken
    assert len(member.rollout.buffer) == 0
    assert (member.rollout.life_steps, member.rollout.random_steps, member.life) == (0, 0, 1)
    state = member.actor_critic.networks_state()
    for name in ("phi", "theta", "phi_target", "theta_target"):
        np.testing.assert_array_equal(state[name], policy["state"][name])
    for name in ("phi_adam", "theta_adam"):
        for part, value in policy["state"][name].items():
            np.testing.assert_array_equal(state[name][part], value)
    assert state["phi_adam"]["t"] > 0
    before = policy["state"]["phi"].copy()
    reports = run(member, alphas, 15, start=20)
    assert {report.origin for report in reports} == {taken}
    assert not np.array_equal(member.actor_critic.phi.numpy(), before)  # it learns on
    np.testing.assert_array_equal(policy["state"]["phi"], before)  # the archive's copy does not


def test_the_earlier_policy_acts_from_the_first_step(member_config, alphas):
    """No uniformly random actions: what it does is its own action and a little noise."""
    config = member_config(older_policies=1.0, exploration_noise=0.0, **LIVES)
    member = Member(config)
    run(member, alphas, 20)
    member._begin_life()
    policy = Member(config)
    policy.actor_critic.load_networks_state(member.actor_critic.networks_state())
    member.rollout.step(member.actor_critic.act)
    observation = member.rollout.buffer.state_dict()["observations"][0]
    action = member.rollout.buffer.state_dict()["actions"][0]
    np.testing.assert_array_equal(action, policy.actor_critic.act(observation))


@pytest.mark.parametrize(("share", "old"), [(0.0, 0.0), (1.0, 1.0), (0.5, 0.5)])
def test_the_share_of_lives(member_config, alphas, share, old):
    member = Member(member_config(older_policies=share, **LIVES))
    run(member, alphas, 20)
    origins = []
    for _ in range(200):
        member._begin_life()
        origins.append(member.origin)
    share_seen = sum(origin is not None for origin in origins) / len(origins)
    assert share_seen == pytest.approx(old, abs=0.0 if share in (0, 1) else 0.15)
    if share:
        assert {o for o in origins if o is not None} == set(member.archive.steps)


@pytest.mark.parametrize("rounds", [19, 45])
def test_a_restored_member_goes_on_bit_for_bit(member_config, alphas, rounds):
    config = member_config(older_policies=0.5, archive_size=2, **LIVES)
    first, second = Member(config), Member(config, incarnation=4)
    run(first, alphas, rounds)
    run(second, alphas, 33)
    second.load_state_dict(first.state_dict())
    one, two = run(first, alphas, 60, start=rounds), run(second, alphas, 60, start=rounds)
    assert [(r.origin, r.life, repr(r.q)) for r in one] == [
        (r.origin, r.life, repr(r.q)) for r in two
    ]
    assert len({r.life for r in one}) > 2
    assert any(r.origin is not None for r in one)
    np.testing.assert_array_equal(first.actor_critic.phi.numpy(), second.actor_critic.phi.numpy())


def test_without_the_option_nothing_is_kept(member_config, alphas):
    member = Member(member_config(**LIVES))
    run(member, alphas, 40)
    assert member.archive.steps == []
    assert "archive" not in member.state_dict()
