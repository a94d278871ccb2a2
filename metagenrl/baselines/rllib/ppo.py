"""PPO (appendix B.3): one agent in one environment, trained by RLlib."""

from __future__ import annotations

from typing import Any

import numpy as np

from metagenrl.agents.environment.limits import EPISODE_LIMIT
from metagenrl.agents.evaluation_episodes import evaluate_policy
from metagenrl.agents.experience.rollout import Episode
from metagenrl.agents.seeding import agent_seeds
from metagenrl.baselines.gym_view import GymView
from metagenrl.baselines.rllib.policy import FILTER_BOUND, NetworkShape
from metagenrl.baselines.rllib.trainer import PpoRun, RllibPpo
from metagenrl.learner.types import Array
from metagenrl.runs.agent_job import TraineeJob


class PpoAgent(RllibPpo):
    """The agent of a job; separate networks for policy and critic."""

    def __init__(self, job: TraineeJob) -> None:
        """Raises `ValueError` as `check_environment` does."""
        self.job = job
        view = GymView(job.env, agent_seeds(job.seed, 0, 0).environment, job.agent.gamma)
        environment = view.steady.environment
        self.sizes = (environment.observation_size, environment.action_size)
        network = NetworkShape(
            inputs=self.sizes[0],
            actions=self.sizes[1],
            hidden_units=job.agent.hidden_units,
            hidden_layers=job.agent.hidden_layers,
        )
        rollout = job.on_policy.rollout_steps
        super().__init__(
            view, PpoRun(job.seed, job.steps, rollout, job.agent.gamma, network, job.ppo)
        )

    def evaluate(self, episodes: int, env_id: str, limit: int = EPISODE_LIMIT) -> list[Episode]:
        """Undisturbed episodes of the distribution's mode; always the same initial states."""
        act = self.policy().act
        return evaluate_policy(env_id, self.job.seed, act, episodes, limit, self.sizes)

    def policy_arrays(self) -> dict[str, Array]:
        """The network of the distribution's mode and the observations' filter, by name."""
        parameters, f = self.module.get_state(), self.observation_filter()
        found: dict[str, Array] = {}
        layers = self.job.agent.hidden_layers
        for i in range(layers):
            place = f"encoder.actor_encoder.net.mlp.{2 * i}"
            found |= _linear(parameters, place, str(i))
        std = f.squares / max(1, f.count - 1)
        return found | _linear(parameters, "pi.net.mlp.0", "_out") | {
            "filter_mean": f.mean, "filter_std": np.where(std > 0, np.sqrt(std), 1.0),
            "filter_bound": np.array(FILTER_BOUND),
        }  # fmt: skip


def _linear(parameters: dict[str, Any], place: str, name: str) -> dict[str, Array]:
    """One of RLlib's layers under our names, weights `[in, out]`."""
    w, b = (np.array(parameters[f"{place}.{part}"]) for part in ("weight", "bias"))
    return {f"w{name}": w.T.copy(), f"b{name}": b}
