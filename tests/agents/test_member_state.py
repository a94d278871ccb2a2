"""Lifetimes, determinism, and a state that gives the same future."""

import json
from dataclasses import fields, is_dataclass

import numpy as np
import pytest
import torch

from tests.fixtures.alone import Alone as Member


def _run(member, alphas, rounds, start=0):
    return [member.round(alphas(i), version=i, round_index=i) for i in range(start, start + rounds)]


def _plain(value):
    """A report or a state as nested tuples that compare bit for bit, NaN included."""
    if is_dataclass(value):
        return tuple(_plain(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, dict):
        return tuple((key, _plain(item)) for key, item in value.items())
    if isinstance(value, (tuple, list)):
        return tuple(map(_plain, value))
    if isinstance(value, np.ndarray):
        return value.shape, str(value.dtype), value.tobytes()
    return repr(value)


def _through_json(state):
    """Arrays as lists, everything else as JSON has it: what a checkpoint does to a state."""

    def default(array):
        assert isinstance(array, np.ndarray)
        return {"dtype": str(array.dtype), "shape": array.shape, "values": array.ravel().tolist()}

    def hook(item):
        if "values" not in item:
            return item
        return np.array(item["values"], item["dtype"]).reshape(item["shape"])

    return json.loads(json.dumps(state, default=default), object_hook=hook)


LIVES = {"first_life": 20, "lifetime": 40, "lifetime_random_steps": 6}


def test_same_seed_gives_the_same_reports_bit_for_bit(member_config, alphas):
    first, second = (_run(Member(member_config(**LIVES)), alphas, 40) for _ in range(2))
    assert _plain(first) == _plain(second)


@pytest.mark.parametrize("other", [{"seed": 1}, {"index": 1}])
def test_another_seed_or_agent_is_another_run(member_config, alphas, other):
    first, second = (Member(member_config(**o)) for o in ({}, other))
    assert not torch.equal(first.actor_critic.phi, second.actor_critic.phi)
    reports = _run(first, alphas, 20), _run(second, alphas, 20)
    assert [r.episodes for r in reports[0]] != [r.episodes for r in reports[1]]


def test_another_incarnation_has_its_own_random_streams(member_config):
    first, second = (Member(member_config(), incarnation=i) for i in (0, 1))
    assert not torch.equal(first.actor_critic.phi, second.actor_critic.phi)
    assert first.rollout.exploration.random() != second.rollout.exploration.random()


@pytest.mark.parametrize("inner_steps", [1, 2])
@pytest.mark.parametrize("rounds", [0, 3, 9, 12, 35])
def test_restored_member_goes_on_bit_for_bit(member_config, alphas, rounds, inner_steps):
    """At birth, while the buffer fills, learning, reborn (step 20), reborn and learning again."""
    config = member_config(inner_steps=inner_steps, **LIVES)
    first, second = Member(config), Member(config, incarnation=4)
    _run(first, alphas, rounds)
    _run(second, alphas, 11)
    second.load_state_dict(_through_json(first.state_dict()))
    assert _plain(second.state_dict()) == _plain(first.state_dict())
    futures = [_run(member, alphas, 25, start=rounds) for member in (first, second)]
    assert _plain(futures[0]) == _plain(futures[1])
    assert _plain(first.state_dict()) == _plain(second.state_dict())


def test_states_are_taken_in_the_middle_of_episodes(member_config, alphas):
    """So that the test above is about more than episodes' borders."""
    member = Member(member_config(**LIVES))
    running = []
    for start in range(36):
        _run(member, alphas, 1, start)
        running.append(member.state_dict()["rollout"]["environment"]["observation"] is not None)
    assert running[2] and running[8] and running[34]  # noqa: PT018 - one property


def test_state_is_a_copy(member_config, alphas):
    member = Member(member_config())
    _run(member, alphas, 10)
    state = member.state_dict()
    before = _plain(state)
    _run(member, alphas, 5, start=10)
    assert _plain(state) == before


def test_a_successor_keeps_its_own_incarnation(member_config, alphas):
    config = member_config()
    first, second = Member(config, incarnation=1), Member(config, incarnation=2)
    _run(first, alphas, 8)
    second.load_state_dict(first.state_dict(), incarnation=2)
    a, b = (_run(member, alphas, 1, start=8)[0] for member in (first, second))
    assert (a.gradient.identity[2], b.gradient.identity[2]) == (1, 2)
    np.testing.assert_array_equal(a.gradient.gradient, b.gradient.gradient)


def test_lives_take_their_lengths(member_config, alphas):
    """The first 20 steps, then 40 each; a round is two steps."""
    reports = _run(Member(member_config(**LIVES)), alphas, 60)
    births = [r.steps - r.life_steps for r in reports]
    assert sorted(set(births)) == [0, 20, 60, 100]
    assert [r.life for r in reports] == [sorted(set(births)).index(b) for b in births]
    assert [r.steps for r in reports] == list(range(2, 122, 2))


def test_an_endless_life_has_no_rebirth(member_config, alphas):
    assert _run(Member(member_config()), alphas, 60)[-1].life == 0


def test_rebirth_starts_from_nothing(member_config, alphas):
    member = Member(member_config(**LIVES))
    born = member.actor_critic.phi.clone()
    _run(member, alphas, 10)
    assert member.actor_critic.phi_adam.t > 0
    report = _run(member, alphas, 1, start=10)[0]
    ac = member.actor_critic
    assert (report.life, report.life_steps, len(member.rollout.buffer)) == (1, 2, 2)
    assert report.gradient is None
    assert (ac.phi_adam.t, ac.theta_adam.t, ac.theta_adam.v.abs().max()) == (0, 0, 0)
    assert torch.equal(ac.phi, ac.phi_target)
    assert torch.equal(ac.theta, ac.theta_target)
    assert not torch.equal(ac.phi, born)
    assert ac.nets.policy.layout.views(ac.phi)["b_out"].abs().max() == 0


def test_new_lives_act_randomly_for_their_own_number_of_steps(member_config, alphas):
    member = Member(member_config(**LIVES))
    asked = []
    _run(member, alphas, 10)
    explore = member.rollout._explore
    member.rollout._explore = lambda s, policy: explore(
        s, lambda o: (asked.append(member.rollout.life_steps), policy(o))[1]
    )
    _run(member, alphas, 5, start=10)
    assert asked == [6, 7, 8, 9]


@pytest.mark.parametrize("inner_steps", [1, 2])
def test_prepared_rounds_are_the_same_rounds(member_config, alphas, inner_steps):
    """While the buffer fills, learning, and over the end of lives; also prepared twice."""
    config = member_config(inner_steps=inner_steps, **LIVES)
    first, second = Member(config), Member(config)
    reports = []
    for i in range(40):
        for _ in range(i % 3):
            second.prepare()
        reports += _run(second, alphas, 1, start=i)
    assert _plain(reports) == _plain(_run(first, alphas, 40))
    assert _plain(second.state_dict()) == _plain(first.state_dict())


@pytest.mark.parametrize("rounds", [0, 3, 9, 12, 35])
def test_a_member_saved_when_prepared_goes_on_bit_for_bit(member_config, alphas, rounds):
    config = member_config(**LIVES)
    first, second, saved = Member(config), Member(config), Member(config, incarnation=4)
    _run(first, alphas, rounds)
    _run(second, alphas, rounds)
    second.prepare()
    state = _through_json(second.state_dict())
    assert state["steps"] == first.steps, "only whole rounds count"
    assert len(second.rollout.buffer) != len(first.rollout.buffer)
    saved.prepare()  # of another future
    saved.load_state_dict(state, incarnation=0)
    assert _plain(saved.state_dict()) == _plain(second.state_dict())
    future = _plain(_run(first, alphas, 25, start=rounds))
    assert _plain(_run(saved, alphas, 25, start=rounds)) == future
    assert _plain(_run(second, alphas, 25, start=rounds)) == future


def test_nothing_is_prepared_beyond_the_end_of_a_life(member_config, alphas):
    member = Member(member_config(**LIVES))
    _run(member, alphas, 10)
    before = _plain(member.state_dict())
    member.prepare()
    assert _plain(member.state_dict()) == before
    assert _run(member, alphas, 1, start=10)[0].life == 1


def test_a_state_of_before_there_was_preparing_is_restored(member_config, alphas):
    first, second = Member(member_config()), Member(member_config())
    _run(first, alphas, 9)
    state = first.state_dict()
    del state["prepared"]
    second.prepare()
    second.load_state_dict(state)
    futures = [_plain(_run(member, alphas, 5, start=9)) for member in (first, second)]
    assert futures[0] == futures[1]
