"""RL^2's trials: inputs and boundaries by hand."""

import numpy as np
import pytest

from metagenrl.agents.environment.environment import Environment
from metagenrl.baselines.gym_view import GymView
from metagenrl.baselines.padding import Padding
from metagenrl.baselines.rllib.rl2_trials import Trial, TrialView, input_size, trial_input
from metagenrl.baselines.steady_environment import SteadyEnvironment

PADDING = Padding(observations=4, actions=3)
ACTION = np.float32([0.5, 9, 9])  # the environment takes one number


def _steady(env_id, seed=0):
    return SteadyEnvironment(env_id, np.random.default_rng(seed))


def test_input_is_observation_action_reward_and_done():
    x = trial_input(PADDING, np.float32([1, 2]), np.float32([3]), 4.0, True)
    assert x.tolist() == [1, 2, 0, 0, 3, 0, 0, 4, 1]
    assert x.size == input_size(PADDING)
    assert x.dtype == np.float32


def test_a_trial_is_two_episodes_in_a_row(faults):
    """`Flaky` observes (episode, t), pays 1 a step and is truncated after 9."""
    trial = Trial(_steady("Flaky-v0"), PADDING, episodes=2)
    assert trial.reset().tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0]
    steps = [trial.step(ACTION) for _ in range(18)]
    inputs = [x.tolist() for x, _, _ in steps]
    assert inputs[0] == [1, 1, 0, 0, 0.5, 0, 0, 1, 0]
    assert inputs[8] == [2, 0, 0, 0, 0.5, 0, 0, 1, 1]  # the next episode's first, marked
    assert inputs[9] == [2, 1, 0, 0, 0.5, 0, 0, 1, 0]
    assert inputs[17] == [2, 9, 0, 0, 0.5, 0, 0, 1, 1]
    assert [over for _, _, over in steps] == [False] * 17 + [True]


def test_the_input_shows_the_action_that_was_taken(faults):
    trial = Trial(_steady("Flaky-v0"), PADDING, episodes=1)
    trial.reset()
    x, _, _ = trial.step(np.float32([-7, 0, 0]))
    assert x[4] == -1.0


def test_only_a_trials_last_step_ends_it_for_the_learner(faults):
    view = TrialView([_steady("Flaky-v0")], PADDING, episodes=2, gamma=0.9)
    view.reset()
    flags = [view.step(ACTION)[2:4] for _ in range(18)]
    assert flags[:17] == [(False, False)] * 17
    assert flags[17] == (False, True)  # by a time limit: its value counts
    finished = view.take_finished()
    assert {step: (e.undiscounted_return, e.length) for step, e in finished.items()} == {
        9: (9.0, 9),
        18: (9.0, 9),
    }
    assert view.take_finished() == {}


def test_trials_go_to_the_environment_with_the_fewest_steps(walk, faults):
    """Walk's episodes end early, so it gets more of them, and as many steps."""
    view = TrialView([_steady(walk), _steady("Flaky-v0")], PADDING, episodes=1, gamma=0.9)
    for _ in range(60):
        _, over = view.reset(), False
        while not over:
            _, _, terminated, truncated, _ = view.step(np.ones(3, np.float32))
            over = terminated or truncated
    assert sum(view.steps) > 300
    assert abs(view.steps[0] - view.steps[1]) <= 9


def test_each_environments_rewards_have_their_own_scale(walk, faults):
    view = TrialView([_steady(walk), _steady("Flaky-v0")], PADDING, episodes=1, gamma=0.9)
    view.reset()
    view.step(ACTION)
    assert view.rewards[0].discounted != 0.0
    assert view.rewards[1].discounted == 0.0


def test_state_goes_on_with_the_next_trial(walk):
    views = [TrialView([_steady(walk, seed)], PADDING, 1, gamma=0.9) for seed in (0, 1)]
    views[0].reset()
    views[0].step(ACTION)
    state = views[0].state_dict()
    views[1].load_state_dict(state)
    first, second = (view.reset()[0].tolist() for view in views)
    assert first == second
    assert views[1].steps == [1]


def test_a_gym_view_is_the_environment_with_scaled_rewards(walk):
    view = GymView(walk, np.random.default_rng(3), gamma=0.9)
    plain = Environment(walk, np.random.default_rng(3))
    assert view.reset(seed=99)[0].tolist() == plain.reset().tolist()
    rewards, over = [], False
    while not over:
        x, reward, terminated, truncated, _ = view.step(np.float32([0.1]))
        result = plain.step([0.1])
        over = terminated or truncated
        assert x.tolist() == result.observation.tolist()
        assert (terminated, truncated) == (result.terminated, result.truncated)
        rewards.append((reward, result.reward))
    assert all(scaled * true >= 0 for scaled, true in rewards)
    assert any(scaled != true for scaled, true in rewards)
    (episode,) = view.take_finished().values()
    assert episode.undiscounted_return == pytest.approx(sum(true for _, true in rewards))
