"""Agents that are computed together against the same agents one after the other."""

import dataclasses
from dataclasses import is_dataclass

import numpy as np
import pytest
import torch

from metagenrl.agents.backend.choice import Computing
from metagenrl.agents.backend.device_replay import fields
from metagenrl.agents.cohort import Cohort
from metagenrl.agents.member import Member
from metagenrl.agents.reports import MemberConfig
from metagenrl.learner.hyperparams import AgentConfig, MetaConfig, ObjectiveConfig
from metagenrl.learner.objective.net import ObjectiveNet

OBJECTIVE = ObjectiveConfig(lstm_units=4, hidden_units=4, input_features=2)
AGENT = AgentConfig(
    hidden_units=8, batch_size=3, segment_length=4, random_steps=10, learning_starts=12,
    replay_capacity=64,
)  # fmt: skip
META = MetaConfig(
    lifetime=60, lifetime_random_steps=5, anneal_steps=40, older_policies=0.9, archive_size=2
)
ALL = (1, 4, 6)


def StackedCohort(device="cpu"):  # noqa: N802 - stands beside `Cohort`
    return Cohort(Computing("reference", device))


def _config(index, agent=AGENT, meta=META, env="Pendulum-v1", objective=OBJECTIVE):
    return MemberConfig("r", 3, index, env, 50 + 3 * index, agent, meta, objective)


def _alpha(seed=0, objective=OBJECTIVE):
    size = ObjectiveNet(objective).layout.size
    return np.random.default_rng(seed).normal(0, 0.3, size).astype(np.float32)


def _cohort(cls, states=None, agents=ALL, **fields):
    cohort = cls()
    for index in agents:
        cohort.add(_config(index, **fields), 0, None if states is None else states[index])
    return cohort


def _play(cohort, rounds, agents=ALL, first=0, objective=OBJECTIVE):
    steps = range(first, first + rounds)
    return [cohort.round(agents, _alpha(i, objective), i, i, {}) for i in steps]


def _close(got, want, rtol):
    """Nested states: numbers within rounding, the rest equal."""
    assert type(got) is type(want)
    if is_dataclass(want):
        own, other = ({k: v for k, v in vars(x).items() if k != "backend"} for x in (got, want))
        _close(own, other, rtol)
    elif isinstance(want, tuple | list):
        assert len(got) == len(want)
        for mine, other in zip(got, want, strict=True):
            _close(mine, other, rtol)
    elif isinstance(want, dict):
        assert got.keys() == want.keys()
        for key in want:
            _close(got[key], want[key], rtol)
    elif isinstance(want, np.ndarray) and want.dtype.kind == "f":
        assert got.shape == want.shape
        scale = max(np.abs(want).max(initial=0.0), 1e-8)
        np.testing.assert_allclose(got, want, rtol=0, atol=rtol * scale)
    elif isinstance(want, np.ndarray):
        np.testing.assert_array_equal(got, want)
    elif isinstance(want, float):
        assert got == pytest.approx(want, rel=rtol, abs=1e-2 * rtol, nan_ok=True)
    else:
        assert got == want


def test_sixty_rounds_with_new_lives_and_annealing_are_the_same_within_rounding():
    stacked, plain = _cohort(StackedCohort), _cohort(Cohort)
    sent = 0
    for got, want in zip(_play(stacked, 60), _play(plain, 60), strict=True):
        _close(got.reports, want.reports, 1e-3)
        assert (got.gradient is None) == (want.gradient is None)
        if want.gradient is not None:
            sent += 1
            _close(got.gradient.gradient, want.gradient.gradient, 1e-3)
    assert sent > 40
    assert min(report.life for report in want.reports) >= 1
    assert any(plain.state(agent)["origin"] is not None for agent in ALL), "all began anew"
    for index in ALL:
        _close(stacked.state(index), plain.state(index), 1e-3)


@pytest.mark.parametrize(("first", "second"), [(Cohort, StackedCohort), (StackedCohort, Cohort)])
def test_states_are_interchangeable(first, second):
    """Some rounds in one way and the rest in the other: as all of them in either."""
    begun = _cohort(first)
    _play(begun, 25)
    states = {index: begun.state(index) for index in ALL}
    handed_over = _cohort(second, states)
    whole = _cohort(second)
    _play(whole, 25)
    for got, want in zip(_play(handed_over, 15, first=25), _play(whole, 15, first=25), strict=True):
        _close(got.reports, want.reports, 1e-3)
    for index in ALL:
        _close(handed_over.state(index), whole.state(index), 1e-3)


@pytest.mark.parametrize("rounds", [2, 15])
def test_what_members_did_ahead_counts(rounds):
    """Saved after some had prepared their next round, while buffers fill and when they learn."""
    apart = _cohort(Cohort)
    _play(apart, rounds)
    apart.prepare(ALL[:2])
    states = {agent: apart.state(agent) for agent in ALL}
    assert [states[agent]["prepared"] is None for agent in ALL] == [False, False, True]
    stacked = _cohort(StackedCohort, states)
    want, got = (_play(cohort, 3, first=rounds) for cohort in (apart, stacked))
    _close([r.reports for r in got], [r.reports for r in want], 1e-3)
    _close(stacked.state(4), apart.state(4), 1e-3)


def test_a_restored_cohort_goes_on_with_the_same_bits():
    whole = _cohort(StackedCohort)
    _play(whole, 20)
    restored = _cohort(StackedCohort, {index: whole.state(index) for index in ALL})
    for got, want in zip(_play(restored, 15, first=20), _play(whole, 15, first=20), strict=True):
        _close(got.reports, want.reports, 0.0)
        np.testing.assert_array_equal(got.gradient.gradient, want.gradient.gradient)
    for index in ALL:
        _close(restored.state(index), whole.state(index), 0.0)


@pytest.mark.parametrize("resample_noise", [0.0, 0.2])
@pytest.mark.parametrize("inner_steps", [1, 3])
def test_inner_steps_and_resampled_actions_are_the_same_within_rounding(
    inner_steps, resample_noise
):
    given = {
        "objective": dataclasses.replace(
            OBJECTIVE, use_advantage=resample_noise > 0, resample_noise=resample_noise
        )
    }
    meta = MetaConfig(anneal_steps=0, inner_steps=inner_steps)
    agent = dataclasses.replace(AGENT, learning_starts=20)
    reference, plain = (
        _cohort(c, agent=agent, meta=meta, **given) for c in (StackedCohort, Cohort)
    )
    sent = 0
    for got, want in zip(_play(reference, 16, **given), _play(plain, 16, **given), strict=True):
        _close(got.reports, want.reports, 1e-3)
        sent += want.gradient is not None
    assert sent > 4


def test_reading_a_state_changes_nothing():
    read, unread = _cohort(StackedCohort), _cohort(StackedCohort)
    for i in range(15):
        got, want = read.round(ALL, _alpha(i), i, i, {}), unread.round(ALL, _alpha(i), i, i, {})
        _close(got.reports, want.reports, 0.0)
        read.state(4)


def test_agents_that_are_not_asked_stay_as_they_are():
    cohort, plain = _cohort(StackedCohort), _cohort(Cohort)
    for each in (cohort, plain):
        _play(each, 15)
        each.round([6, 1], _alpha(15), 15, 15, {})
        _play(each, 10, first=16)
    for index in ALL:
        _close(cohort.state(index), plain.state(index), 1e-3)
    assert cohort.state(4)["steps"] == 50
    assert cohort.state(1)["steps"] == 52


def test_an_agent_that_raises_is_lost_alone_and_comes_back(monkeypatch):
    cohort, undisturbed = _cohort(StackedCohort), _cohort(StackedCohort)
    for each in (cohort, undisturbed):
        _play(each, 12)
    saved = cohort.state(4)
    original = Member.take_step

    def broken(individual, backend):
        if individual.config.index == 4:
            raise RuntimeError("the wheel came off")
        return original(individual, backend)

    with monkeypatch.context() as patch:
        patch.setattr(Member, "take_step", broken)
        report = cohort.round(ALL, _alpha(12), 12, 12, {})
    want = undisturbed.round(ALL, _alpha(12), 12, 12, {})
    assert [f.agent for f in report.failures] == [4]
    assert report.failures[0].reason == "RuntimeError('the wheel came off')"
    assert "broken" in report.failures[0].detail
    assert report.gradient.weight == 2
    _close(report.reports, (want.reports[0], want.reports[2]), 0.0)
    with pytest.raises(KeyError):
        cohort.state(4)
    cohort.round([1, 6], _alpha(13), 13, 13, {})
    cohort.add(_config(4), 1, saved)
    again = cohort.round(ALL, _alpha(14), 14, 14, {})
    assert [(r.agent, r.incarnation, r.steps) for r in again.reports] == [
        (1, 0, 30), (4, 1, 26), (6, 0, 30)
    ]  # fmt: skip
    assert again.gradient.weight == 3


def test_a_policy_gradient_that_is_not_finite_ends_its_agent_alone():
    cohort, sound = _cohort(StackedCohort), _cohort(StackedCohort)
    for each in (cohort, sound):
        _play(each, 12)
    state = cohort.state(4)
    state["actor_critic"]["theta"][:] = np.nan
    cohort.add(_config(4), 0, state)
    report, want = (each.round(ALL, _alpha(12), 12, 12, {}) for each in (cohort, sound))
    assert [f.agent for f in report.failures] == [4]
    assert "FloatingPointError" in report.failures[0].reason
    _close(report.reports, (want.reports[0], want.reports[2]), 0.0)
    assert report.gradient.weight == 2


def test_members_that_join_later_find_room():
    cohort, plain = _cohort(StackedCohort, agents=(1, 4)), _cohort(Cohort, agents=(1, 4))
    for each in (cohort, plain):
        _play(each, 12, (1, 4))
        each.add(_config(6), 0, None)
        _play(each, 12, first=12)
        each.remove(1)
        _play(each, 2, (4, 6), first=24)
    for index in (4, 6):
        _close(cohort.state(index), plain.state(index), 1e-3)


def test_what_a_graph_reads_and_writes_stays_where_it_is():
    """Through new lives and growing buffers: a CUDA graph knows nothing but addresses."""

    def addresses():
        (learner,) = cohort.backend._blocks
        tensors = [
            *vars(learner).values(), *vars(learner._agents).values(),
            *vars(learner._agents.learned).values(),
            *vars(learner._agents._phi_adam).values(),
            *vars(learner._agents._theta_adam).values(),
            *fields(learner._critic_batch), *fields(learner._policy_batch),
        ]  # fmt: skip
        return [t.data_ptr() for t in tensors if isinstance(t, torch.Tensor)]

    cohort = _cohort(StackedCohort)
    _play(cohort, 1)
    before = addresses()
    assert len(before) >= 30
    _play(cohort, 50, first=1)
    assert addresses() == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_graphs_give_what_the_cpu_gives():
    gpu = _cohort(lambda: StackedCohort("cuda"))
    cpu = _cohort(StackedCohort)
    for got, want in zip(_play(gpu, 40), _play(cpu, 40), strict=True):
        _close(got.reports, want.reports, 1e-2)
    for index in ALL:
        _close(gpu.state(index), cpu.state(index), 1e-2)
    assert gpu.backend._blocks[0]._critic_update._graph is not None
