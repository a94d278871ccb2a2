"""Exploration, storage, and environments that raise."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from metagenrl.agents.experience.failures import MAX_ENVIRONMENT_RETRIES, EnvironmentFailed
from metagenrl.agents.experience.rollout import Rollout
from metagenrl.agents.seeding import agent_seeds
from metagenrl.learner.hyperparams import AgentConfig

CONFIG = AgentConfig(
    replay_capacity=200, segment_length=5, random_steps=0, exploration_noise=0.0, batch_size=4
)


def _rollout(env_id="Flaky-v0", **fields):
    return Rollout(env_id, replace(CONFIG, **fields), agent_seeds(0, 0, 0))


def _half(observation):
    return np.array([0.5], np.float32)


def _refuse(observation):
    raise AssertionError("the policy was asked during random exploration")


def _steps(rollout, count, policy=_half):
    return [episode for _ in range(count) if (episode := rollout.step(policy)) is not None]


def _segments(rollout):
    """Every stored step's segment as rows of (episode, t), oldest start first."""
    segments = rollout.sample(len(rollout.buffer))
    rows = [
        [tuple(map(int, s)) for s in states[: int(valid.sum()) + 1]]
        for states, valid in zip(segments.observations, segments.mask, strict=True)
    ]
    return sorted(rows)


def test_steps_are_stored_and_episodes_reported(faults):
    rollout = _rollout()
    (episode,) = _steps(rollout, 11)
    assert (episode.undiscounted_return, episode.length) == (9.0, 9)
    assert (rollout.life_steps, len(rollout.buffer)) == (11, 11)
    rows = _segments(rollout)
    assert rows[0] == [(1, t) for t in range(6)]
    assert rows[7] == [(1, 7), (1, 8), (1, 9)]
    assert rows[9] == [(2, 0), (2, 1), (2, 2)]


def test_termination_and_truncation_are_told_apart(walk):
    rollout = _rollout(walk)
    _steps(rollout, 100, lambda s: np.array([1 / 3], np.float32))
    segments = rollout.sample(100)
    x, t = segments.observations[:, 1].T  # where each step led to
    np.testing.assert_array_equal(segments.terminated[:, 0], np.abs(x) > 1.5)
    cut = (t == 9) & (np.abs(x) <= 1.5)
    assert cut.sum() > 0
    assert segments.terminated.sum() > 0
    assert segments.mask[cut].sum(1).tolist() == [1.0] * int(cut.sum())


def test_first_steps_are_uniformly_random(walk):
    rollout = _rollout(walk, random_steps=150)
    _steps(rollout, 150, _refuse)
    actions = rollout.sample(150).actions[:, 0, 0]
    expected = agent_seeds(0, 0, 0).exploration.uniform(-1, 1, 150)
    np.testing.assert_array_equal(np.sort(actions), np.sort(expected.astype(np.float32)))
    with pytest.raises(AssertionError, match="the policy was asked"):
        rollout.step(_refuse)


def test_noise_is_added_to_the_policy_and_clipped(walk):
    rollout = _rollout(walk, exploration_noise=0.1)
    _steps(rollout, 100, lambda s: np.array([0.95], np.float32))
    noise = agent_seeds(0, 0, 0).exploration.normal(0.0, 0.1, 100)
    expected = np.clip(np.float32(0.95) + noise, -1, 1).astype(np.float32)
    assert (expected == 1.0).sum() > 10
    actions = np.sort(rollout.sample(100).actions[:, 0, 0])
    np.testing.assert_allclose(actions, np.sort(expected), rtol=1e-6)


def test_policy_sees_the_newest_observation(faults):
    seen = []
    rollout = _rollout()
    _steps(rollout, 11, lambda s: (seen.append(tuple(map(int, s))), _half(s))[1])
    assert seen == [(1, t) for t in range(9)] + [(2, 0), (2, 1)]


def test_an_episode_that_raises_is_dropped_and_its_steps_stay_usable(faults, caplog):
    faults.steps = {4}
    rollout = _rollout()
    with caplog.at_level(logging.WARNING):
        _steps(rollout, 5)
    assert "Flaky-v0 raised, its episode is dropped: OSError('step 4 failed')" in caplog.text
    assert (rollout.life_steps, len(rollout.buffer)) == (5, 5)
    rows = _segments(rollout)
    assert rows[0] == [(1, 0), (1, 1), (1, 2), (1, 3)]  # never on into episode 2
    assert rows[3] == [(2, 0), (2, 1), (2, 2)]
    assert rollout.sample(5).terminated.sum() == 0


def test_a_reset_that_raises_is_tried_again(faults):
    faults.resets = {1, 3}
    rollout = _rollout()
    assert [episode.length for episode in _steps(rollout, 20)] == [9, 9]
    assert len(rollout.buffer) == 20


def test_retries_are_capped_and_the_cause_is_chained(faults):
    rollout = _rollout()
    _steps(rollout, 3)
    faults.always = True
    with pytest.raises(EnvironmentFailed, match=r"^Flaky-v0: raised in 4 episodes in a row") as e:
        rollout.step(_half)
    assert isinstance(e.value.__cause__, OSError)
    assert str(e.value.__cause__) == "reset 4 failed"
    assert (rollout.life_steps, len(rollout.buffer)) == (3, 3)


def test_an_episode_that_ends_resets_the_count(faults):
    in_a_row = MAX_ENVIRONMENT_RETRIES
    faults.resets = set(range(1, 1 + in_a_row)) | set(range(5, 5 + in_a_row))
    rollout = _rollout()
    assert len(_steps(rollout, 20)) == 2
    assert faults.reset_calls == 2 * in_a_row + 3


def test_the_buffer_is_consistent_after_giving_up(faults):
    rollout = _rollout()
    _steps(rollout, 3)
    faults.always = True
    with pytest.raises(EnvironmentFailed):
        rollout.step(_half)
    faults.always = False
    _steps(rollout, 2)
    last = faults.reset_calls
    assert _segments(rollout)[2:] == [[(1, 2), (1, 3)], [(last, 0), (last, 1), (last, 2)],
                                      [(last, 1), (last, 2)]]  # fmt: skip


def test_restart_begins_a_life(faults):
    rollout = _rollout()
    _steps(rollout, 5)
    rollout.restart(random_steps=2)
    assert (rollout.life_steps, len(rollout.buffer)) == (0, 0)
    _steps(rollout, 2, _refuse)
    _steps(rollout, 1)
    assert _segments(rollout)[0] == [(2, 0), (2, 1), (2, 2), (2, 3)]


@pytest.mark.parametrize("steps", [0, 3, 9, 40])
def test_restored_rollout_goes_on_bit_for_bit(walk, steps):
    """Between episodes, midway, and after the buffer (of 30) has wrapped."""
    fields = {"replay_capacity": 30, "random_steps": 20, "exploration_noise": 0.3}
    first, second = _rollout(walk, **fields), _rollout(walk, **fields)
    _steps(first, steps)
    _steps(second, 7)  # it has a past of its own, to be forgotten
    second.load_state_dict(first.state_dict())
    assert _steps(first, 30) == _steps(second, 30)
    first_samples, second_samples = (vars(rollout.sample(20)) for rollout in (first, second))
    for name, array in first_samples.items():
        np.testing.assert_array_equal(second_samples[name], array)


def test_an_episode_that_cannot_be_replayed_is_dropped(faults, caplog):
    """`Flaky` counts its resets, so a replayed episode never is the saved one."""
    first, second = _rollout(), _rollout()
    _steps(first, 3)
    with caplog.at_level(logging.WARNING):
        second.load_state_dict(first.state_dict())
    assert "the episode in progress is dropped" in caplog.text
    _steps(second, 2)
    last = faults.reset_calls
    rows = _segments(second)
    assert rows[0] == [(1, 0), (1, 1), (1, 2), (1, 3)]
    assert rows[3] == [(last, 0), (last, 1), (last, 2)]
    assert second.life_steps == 5


def test_an_environment_that_breaks_in_every_episode_is_reported(faults):
    """It works for a step each time: good steps alone must not hide that no episode ends."""
    faults.steps = set(range(2, 100, 2))
    rollout = _rollout()
    with pytest.raises(EnvironmentFailed, match="4 episodes in a row"):
        _steps(rollout, 50)
    assert rollout.life_steps == MAX_ENVIRONMENT_RETRIES + 1


def test_a_policy_that_is_not_finite_is_no_fault_of_the_environment(walk):
    rollout = _rollout(walk)
    _steps(rollout, 3)
    with pytest.raises(FloatingPointError, match="Walk-v0: the policy's action is"):
        rollout.step(lambda s: np.array([np.nan], np.float32))
    assert (rollout.failures.count, rollout.life_steps) == (0, 3)
