"""RL^2's trials: several episodes in a row of one environment, as one episode (appendix B.3).

What the policy sees is the observation, its last action, the reward and whether an episode has
just ended, so that a recurrent policy whose state lasts for the trial can learn within it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from metagenrl.agents.environment.environment import Array, StepResult
from metagenrl.agents.seeding import restore_rng, rng_state
from metagenrl.baselines.gym_view import RecordedEnv, centred, unbounded
from metagenrl.baselines.padding import Padding
from metagenrl.baselines.reward_scale import RewardScale
from metagenrl.baselines.steady_environment import SteadyEnvironment


def input_size(padding: Padding) -> int:
    """Size of `trial_input`."""
    return padding.observations + padding.actions + 2


def trial_input(
    padding: Padding, observation: Array, action: Array, reward: float, done: bool
) -> Array:
    """The policy's input: s_t, a_{t-1}, r_{t-1} and whether step t-1 ended an episode.

    `observation [O]` and `action [A]` are zero-padded; at the start of a trial `action` is 0.
    """
    last = np.array([reward, float(done)], np.float32)
    return np.concatenate([padding.observation(observation), padding.action(action), last])


class Trial:
    """One environment's episodes in a row, stepped as one; unscaled rewards."""

    def __init__(self, steady: SteadyEnvironment, padding: Padding, episodes: int) -> None:
        self.steady, self.padding, self.episodes = steady, padding, episodes
        self._left = 0

    def reset(self) -> Array:
        """Begin a trial: the policy's first input. Raises `EnvironmentFailed`."""
        self._left = self.episodes
        observation = self.steady.reset()
        nothing = np.zeros(self.steady.environment.action_size, np.float32)
        return trial_input(self.padding, observation, nothing, 0.0, False)

    def step(self, action: Array) -> tuple[Array, StepResult, bool]:
        """Take `action` [padded A]: the policy's input, what happened, and if the trial is over.

        Between two episodes the input's observation is already the next one's first.
        """
        own = np.asarray(action, np.float32)[: self.steady.environment.action_size]
        result = self.steady.step(own)
        ended = result.terminated or result.truncated
        observation = result.observation
        if ended:
            self._left -= 1
            observation = self.steady.reset() if self._left else observation
        seen = np.clip(own, -1.0, 1.0)
        x = trial_input(self.padding, observation, seen, result.reward, ended)
        return x, result, self._left == 0


class TrialView(RecordedEnv):
    """Trials in several environments, each the one that has had the fewest steps so far.

    The reward to learn from is scaled in each environment by itself, so that none drowns the
    others; the one that the policy sees is the environment's own.
    """

    def __init__(
        self,
        steady: Sequence[SteadyEnvironment],
        padding: Padding,
        episodes: int,
        gamma: float,
    ) -> None:
        super().__init__()
        self.trials = [Trial(environment, padding, episodes) for environment in steady]
        self.rewards = [RewardScale(gamma) for _ in steady]
        self.steps = [0] * len(steady)
        self._current = 0
        self.observation_space = unbounded(input_size(padding))
        self.action_space = centred(padding.actions)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Begin a trial; a running one is dropped."""
        self._current = self.steps.index(min(self.steps))
        return self.trials[self._current].reset(), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """One step, in Gymnasium's form. Raises `EnvironmentFailed`.

        The trial's end bootstraps where a time limit ended its last episode, as an episode's does.
        """
        i = self._current
        x, result, over = self.trials[i].step(action)
        self.steps[i] += 1
        self.tick(self.trials[i].steady.take_finished())
        reward = self.rewards[i](result.reward, over)
        return x, reward, over and result.terminated, over and not result.terminated, {}

    def close(self) -> None:
        """Free the environments."""
        for trial in self.trials:
            trial.steady.close()

    def state_dict(self) -> dict[str, Any]:
        """All but the running trial, which a restored run begins anew."""
        environments = {
            str(i): {
                "rng": rng_state(trial.steady.environment.rng),
                "rewards": scale.state_dict(),
            }
            for i, (trial, scale) in enumerate(zip(self.trials, self.rewards, strict=True))
        }
        return {"environments": environments, "steps": list(self.steps)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave, between trials."""
        self.steps = list(state["steps"])
        for i, (trial, scale) in enumerate(zip(self.trials, self.rewards, strict=True)):
            saved = state["environments"][str(i)]
            trial.steady.environment.abandon_episode()
            trial.steady.environment.rng = restore_rng(saved["rng"])
            scale.load_state_dict(saved["rewards"])
            scale.discounted = 0.0
