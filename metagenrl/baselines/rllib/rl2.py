"""RL^2 (appendix B.3): PPO over trials with an LSTM, and a meta-test of what came out.

Learning happens in two places: PPO changes the weights during meta-training, the LSTM's state
changes within a trial. A meta-test has only the second.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from metagenrl.agents.environment.limits import EPISODE_LIMIT
from metagenrl.agents.environment.make import check_environment
from metagenrl.agents.evaluation_episodes import EVALUATION_STREAM
from metagenrl.agents.experience.rollout import Episode
from metagenrl.agents.seeding import agent_seeds
from metagenrl.baselines.padding import Padding
from metagenrl.baselines.policy_files import policy_folders, read_policy
from metagenrl.baselines.rllib.policy import NetworkShape, PpoPolicy
from metagenrl.baselines.rllib.rl2_trials import Trial, TrialView, input_size
from metagenrl.baselines.rllib.trainer import PpoRun, RllibPpo, frozen_policy
from metagenrl.baselines.steady_environment import SteadyEnvironment
from metagenrl.runs.agent_job import TraineeJob


class Rl2Agent(RllibPpo):
    """Meta-training in several environments: one PPO whose episodes are trials."""

    def __init__(self, job: TraineeJob) -> None:
        """Raises `ValueError` where an environment does not fit the padding."""
        self.seed, self.rl2 = job.seed, job.rl2
        specs = [check_environment(env) for env in job.environments]
        self.padding = Padding.of(specs, job.rl2.pad_observations, job.rl2.pad_actions)
        steady = [
            SteadyEnvironment(env, agent_seeds(job.seed, i, 0).environment)
            for i, env in enumerate(job.environments)
        ]
        view = TrialView(steady, self.padding, job.rl2.episodes_per_trial, job.agent.gamma)
        network = NetworkShape(
            inputs=input_size(self.padding),
            actions=self.padding.actions,
            hidden_units=job.agent.hidden_units,
            hidden_layers=job.agent.hidden_layers,
            lstm_units=job.rl2.lstm_units,
            sequence_length=job.rl2.sequence_length,
        )
        rollout = job.on_policy.rollout_steps
        super().__init__(
            view, PpoRun(job.seed, job.steps, rollout, job.agent.gamma, network, job.ppo)
        )

    def evaluate(self, episodes: int, env_id: str, limit: int = EPISODE_LIMIT) -> list[Episode]:
        """The last episode of each of `episodes` undisturbed trials; always the same ones."""
        per_trial = self.rl2.episodes_per_trial
        lived = play_trials(
            self.policy(), env_id, self.seed, self.padding, per_trial, episodes, limit
        )
        return lived[per_trial - 1 :: per_trial]

    def policy_state(self) -> dict[str, Any]:
        """The part of the state that a meta-test needs."""
        padding = vars(self.padding).copy()
        trial = {"episodes_per_trial": self.rl2.episodes_per_trial, "padding": padding}
        return self.frozen_state() | trial


class Rl2Tester:
    """A meta-test: trials of a meta-trained policy in one environment, seen or not.

    Its weights do not change, so that one evaluation holds for all steps: the curve is flat. The
    episodes it reports are those of the trials in the order in which they were lived.
    """

    resumable = True

    def __init__(self, job: TraineeJob) -> None:
        """Agent of seed s tests meta-trained policy s modulo their number.

        Raises `CorruptFile`, and `ValueError` where the environment does not fit the padding.
        """
        self.job, self.steps = job, 0
        state = read_policy(policy_folders(Path(job.objective.snapshot)), job.seed)
        self.padding = Padding(**state["padding"])
        self.padding.require_fits(check_environment(job.env))
        self.per_trial = int(state["episodes_per_trial"])
        self._lived = play_trials(
            frozen_policy(state), job.env, job.seed, self.padding, self.per_trial,
            job.eval_episodes, job.eval_max_steps,
        )  # fmt: skip
        ends = np.cumsum([episode.length for episode in self._lived])
        self._ends = dict(zip(map(int, ends), self._lived, strict=True))

    def step(self) -> Episode | None:
        """One step of the trials; the episode that ended with it."""
        self.steps += 1
        return self._ends.get(self.steps)

    def evaluate(self, episodes: int, env_id: str, limit: int = EPISODE_LIMIT) -> list[Episode]:
        """The last episode of each trial, which were lived with the job's limit."""
        return self._lived[self.per_trial - 1 :: self.per_trial]

    def close(self) -> None:
        """There is nothing to free."""

    def state_dict(self) -> dict[str, Any]:
        """The step; the trials are the same at every start."""
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.steps = int(state["steps"])


def rl2_agent(job: TraineeJob) -> Rl2Agent | Rl2Tester:
    """Meta-training, or the meta-test where there are policies."""
    return Rl2Tester(job) if job.objective.snapshot else Rl2Agent(job)


def play_trials(
    policy: PpoPolicy,
    env_id: str,
    seed: int,
    padding: Padding,
    per_trial: int,
    trials: int,
    limit: int = EPISODE_LIMIT,
) -> list[Episode]:
    """All episodes of `trials` trials, in order; one in which the environment raised is repeated.

    Raises `EnvironmentFailed`.
    """
    stream = np.random.SeedSequence(seed, spawn_key=(EVALUATION_STREAM,))
    steady = SteadyEnvironment(env_id, np.random.default_rng(stream), limit)
    trial = Trial(steady, padding, per_trial)
    lived: list[Episode] = []
    while len(lived) < trials * per_trial:
        policy.start()
        x, over = trial.reset(), False
        while not over:
            x, _, over = trial.step(policy.act(x))
        episodes = steady.take_finished()
        lived += episodes if len(episodes) == per_trial else []
    steady.close()
    return lived
