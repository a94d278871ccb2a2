"""Environments that raise: their episode is cut, and in the end it is an error."""

import numpy as np
import pytest

from metagenrl.agents.experience.failures import EnvironmentFailed
from metagenrl.baselines.steady_environment import SteadyEnvironment

ACTION = np.zeros(1, np.float32)


def _episode(steady):
    """Step results of one episode."""
    steady.reset()
    results = []
    while steady.observation is not None:
        results.append(steady.step(ACTION))
    return results


def test_a_step_that_raises_cuts_its_episode_like_a_time_limit(faults):
    faults.steps = {4}
    steady = SteadyEnvironment("Flaky-v0", np.random.default_rng(0))
    results = _episode(steady)
    assert [result.truncated for result in results] == [False, False, False, True]
    assert not any(result.terminated for result in results)
    assert results[-1].reward == 0.0
    assert results[-1].observation.tolist() == results[-2].observation.tolist()
    assert steady.take_finished() == []  # its return says nothing
    assert len(_episode(steady)) == 9
    assert [(e.undiscounted_return, e.length) for e in steady.take_finished()] == [(9.0, 9)]
    assert steady.take_finished() == []


def test_a_reset_that_raises_is_tried_again(faults):
    faults.resets = {1, 2}
    steady = SteadyEnvironment("Flaky-v0", np.random.default_rng(0))
    assert steady.reset().tolist() == [3.0, 0.0]


def test_failures_in_a_row_are_an_error(faults):
    """Three may be, and ten once an episode has ended."""
    faults.always = True
    with pytest.raises(EnvironmentFailed, match="raised in 4 episodes in a row: OSError"):
        SteadyEnvironment("Flaky-v0", np.random.default_rng(0)).reset()
    faults.always, faults.reset_calls = False, 0
    steady = SteadyEnvironment("Flaky-v0", np.random.default_rng(0))
    faults.steps = {1, 2, 3, 13}  # a sound episode in between
    for _ in range(5):
        _episode(steady)
    assert steady.failures.count == 1
    faults.always = True
    with pytest.raises(EnvironmentFailed, match="raised in 11 episodes in a row: OSError"):
        steady.reset()


def test_what_the_policy_does_wrong_is_not_the_environments_fault(faults):
    steady = SteadyEnvironment("Flaky-v0", np.random.default_rng(0))
    with pytest.raises(RuntimeError, match="between episodes"):
        steady.step(ACTION)
    steady.reset()
    with pytest.raises(FloatingPointError, match="the policy's action is"):
        steady.step(np.float32([np.nan]))
    assert steady.failures.count == 0


def test_state_goes_on_in_the_middle_of_an_episode(walk):
    first, second = (SteadyEnvironment(walk, np.random.default_rng(seed)) for seed in (0, 1))
    first.reset()
    first.step(ACTION)
    second.load_state_dict(first.state_dict())
    assert first.step(ACTION).observation.tolist() == second.step(ACTION).observation.tolist()
