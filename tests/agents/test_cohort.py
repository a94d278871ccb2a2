"""Members in a cohort compute what they would compute alone."""

import dataclasses

import numpy as np
import pytest

from metagenrl.agents.cohort import Cohort
from metagenrl.agents.member import Member
from metagenrl.agents.reports import MemberConfig
from metagenrl.base.messages import average
from metagenrl.learner.hyperparams import AgentConfig, MetaConfig, ObjectiveConfig
from metagenrl.learner.objective.net import ObjectiveNet
from tests.fixtures.alone import Alone

OBJECTIVE = ObjectiveConfig(lstm_units=4, hidden_units=4, input_features=2)
AGENT = AgentConfig(
    hidden_units=8, batch_size=3, segment_length=4, random_steps=10, learning_starts=12,
    replay_capacity=300,
)  # fmt: skip
META = MetaConfig(lifetime=30, lifetime_random_steps=5, anneal_steps=0)


def _config(index: int) -> MemberConfig:
    return MemberConfig("r", 3, index, "Pendulum-v1", 20 + index, AGENT, META, OBJECTIVE)


def _alpha() -> np.ndarray:
    size = ObjectiveNet(OBJECTIVE).layout.size
    return np.random.default_rng(0).normal(0, 0.3, size).astype(np.float32)


def test_a_cohort_is_its_members_and_the_mean_of_their_gradients() -> None:
    cohort, alone, alpha = Cohort(), [], _alpha()
    for index in (1, 4, 6):
        cohort.add(_config(index), 0, None)
        alone.append(Alone(_config(index), 0))
    sent = 0
    for round_index in range(20):
        report = cohort.round([1, 4, 6], alpha, 0, round_index, {})
        own = [member.round(alpha, 0, round_index) for member in alone]
        gradients = [item.gradient for item in own if item.gradient is not None]
        assert (report.gradient is None) == (not gradients)
        for together, single in zip(report.reports, own, strict=True):
            assert (together.steps, together.life) == (single.steps, single.life)
            np.testing.assert_equal(together.td_loss, single.td_loss)
        if report.gradient is not None:
            sent += 1
            np.testing.assert_array_equal(report.gradient.gradient, average(gradients).gradient)
    assert sent > 10
    assert max(item.life for item in own) >= 1, "no lifetime ended: the test shows less"
    state = cohort.state(4)["actor_critic"]
    np.testing.assert_array_equal(state["theta"], alone[1].state_dict()["actor_critic"]["theta"])


def test_a_round_takes_the_alpha_that_it_is_given() -> None:
    cohort, alpha, never_saw_another = Cohort(), _alpha(), Cohort()
    cohort.add(_config(0), 0, None)
    for round_index in range(8):
        before = cohort.round([0], alpha, 0, round_index, {}).gradient
    never_saw_another.add(_config(0), 0, cohort.state(0))
    alpha *= -1  # in the same array
    now, wanted = (c.round([0], alpha, 1, 8, {}).gradient for c in (cohort, never_saw_another))
    assert before is not None
    assert now is not None
    assert wanted is not None
    np.testing.assert_array_equal(now.gradient, wanted.gradient)


def test_a_member_that_raises_is_lost_alone_and_comes_back_from_its_state(monkeypatch) -> None:
    cohort, alpha = Cohort(), _alpha()
    for index in (0, 1):
        cohort.add(_config(index), 0, None)
    for round_index in range(8):
        cohort.round([0, 1], alpha, 0, round_index, {})
    saved = cohort.state(1)
    original = Member.draw_for_policy

    def broken(member: Member):
        if member.config.index == 1:
            raise RuntimeError("the wheel came off")
        return original(member)

    monkeypatch.setattr(Member, "draw_for_policy", broken)
    report = cohort.round([0, 1], alpha, 0, 8, {})
    monkeypatch.undo()
    assert [item.agent for item in report.reports] == [0]
    assert [(f.agent, f.reason) for f in report.failures] == [
        (1, "RuntimeError('the wheel came off')")
    ]
    assert "test_cohort" in report.failures[0].detail
    assert report.gradient is not None
    assert report.gradient.weight == 1
    cohort.add(_config(1), 1, saved)
    again = cohort.round([0, 1], alpha, 0, 9, {})
    assert [(r.agent, r.incarnation, r.steps) for r in again.reports] == [(0, 0, 20), (1, 1, 18)]


def test_a_cohort_that_prepares_reports_the_same() -> None:
    cohort, plain, alpha = Cohort(), Cohort(), _alpha()
    for index in (0, 1):
        cohort.add(_config(index), 0, None)
        plain.add(_config(index), 0, None)
    for round_index in range(20):
        cohort.prepare([0, 1])
        report, wanted = (c.round([0, 1], alpha, 0, round_index, {}) for c in (cohort, plain))
        for mine, other in zip(report.reports, wanted.reports, strict=True):
            np.testing.assert_equal(mine.td_loss, other.td_loss)
    assert report.gradient is not None
    np.testing.assert_array_equal(report.gradient.gradient, wanted.gradient.gradient)


def test_a_member_that_raises_while_it_prepares_is_lost_in_the_next_round(monkeypatch) -> None:
    cohort, alpha = Cohort(), _alpha()
    for index in (0, 1):
        cohort.add(_config(index), 0, None)
    cohort.round([0, 1], alpha, 0, 0, {})
    saved = cohort.state(1)

    def broken(policy):
        raise RuntimeError("the wheel came off")

    monkeypatch.setattr(cohort.members[1].rollout, "step", broken)
    cohort.prepare([0, 1])
    with pytest.raises(RuntimeError, match="wheel"):
        cohort.state(1)
    report = cohort.round([0, 1], alpha, 0, 1, {})
    assert [item.agent for item in report.reports] == [0]
    assert [(f.agent, f.reason) for f in report.failures] == [
        (1, "RuntimeError('the wheel came off')")
    ]
    assert "in broken" in report.failures[0].detail, "the original traceback"
    cohort.prepare([0, 1])  # asked for both before that was known
    cohort.add(_config(1), 1, saved)
    again = cohort.round([0, 1], alpha, 0, 2, {})
    assert [(r.agent, r.steps) for r in again.reports] == [(0, 6), (1, 4)]


def test_a_member_of_other_sizes_is_refused() -> None:
    cohort = Cohort()
    cohort.add(_config(1), 0, None)
    other = dataclasses.replace(_config(2), env_id="MountainCarContinuous-v0")
    with pytest.raises(
        ValueError, match=r"got \(2, 1\), allowed: the sizes of other lives, \(3, 1"
    ):
        cohort.add(other, 0, None)
