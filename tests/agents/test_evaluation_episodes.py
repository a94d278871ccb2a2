"""Evaluations end, whatever the environment does."""

import gymnasium
import numpy as np
import pytest

from metagenrl.agents.evaluation_episodes import evaluate_policy
from metagenrl.agents.experience.failures import EnvironmentFailed


class Endless(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    chance = 0.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        if self.np_random.random() < self.chance:
            raise ValueError("simulator exploded")
        return np.zeros(1, np.float32), 1.0, False, False, {}


@pytest.fixture
def endless(monkeypatch):
    gymnasium.register("Endless-v0", Endless)
    gymnasium.register("Ending-v0", Endless, max_episode_steps=7)
    yield lambda chance: monkeypatch.setattr(Endless, "chance", chance)
    del gymnasium.registry["Endless-v0"], gymnasium.registry["Ending-v0"]


def act(observation):
    return np.zeros(1, np.float32)


@pytest.mark.usefixtures("endless")
def test_an_episode_without_a_limit_is_cut_and_said():
    assert [(e.length, e.cut) for e in evaluate_policy("Endless-v0", 0, act, 2, 30)] == [
        (30, True)
    ] * 2
    assert [(e.length, e.cut) for e in evaluate_policy("Ending-v0", 0, act, 1, 3)] == [(7, False)]


def test_an_episode_that_raises_is_repeated_up_to_a_limit(endless):
    endless(0.02)
    episodes = evaluate_policy("Endless-v0", 0, act, 5, 30)
    assert [episode.length for episode in episodes] == [30] * 5
    assert episodes == evaluate_policy("Endless-v0", 0, act, 5, 30)
    endless(1.0)
    with pytest.raises(EnvironmentFailed, match="raised in 11 evaluation episodes in a row"):
        evaluate_policy("Endless-v0", 0, act, 5, 30)


@pytest.mark.usefixtures("endless")
def test_an_environment_of_other_sizes_is_refused():
    with pytest.raises(ValueError, match=r"Ending-v0: got \(1, 1\), allowed: .* \(3, 1\)"):
        evaluate_policy("Ending-v0", 0, act, 1, sizes=(3, 1))


def test_what_the_policy_does_wrong_is_raised(endless):
    with pytest.raises(FloatingPointError, match="the policy's action"):
        evaluate_policy("Ending-v0", 0, lambda s: np.full(1, np.nan, np.float32), 1)
