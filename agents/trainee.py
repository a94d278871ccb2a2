"""An agent trained by a fixed objective: Algorithm 2 with a frozen L_alpha, and the baselines.

TD3 and DDPG are this agent with the critic as its objective, off-policy REINFORCE with GAE
(section 9). There is no annealing and no meta-gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from metagenrl.agents.backend.actor_critic import ActorCritic, require_finite
from metagenrl.agents.backend.choice import choose_alone
from metagenrl.agents.backend.interface import CriticDraw, PolicyDraw
from metagenrl.agents.environment.limits import EPISODE_LIMIT
from metagenrl.agents.evaluation_episodes import evaluate_policy
from metagenrl.agents.experience.rollout import Episode, Rollout
from metagenrl.agents.seeding import agent_seeds
from metagenrl.learner.critic import smoothing_noise
from metagenrl.learner.hyperparams import AgentConfig
from metagenrl.learner.networks.agent_networks import AgentNetworks
from metagenrl.learner.policy_update import Learned, Objective
from metagenrl.learner.resampling import resampling_noise
from metagenrl.learner.types import Array


@dataclass(frozen=True)
class TraineeConfig:
    """One run of Algorithm 2."""

    env_id: str
    seed: int
    agent: AgentConfig


class Trainee:
    """A new agent in `env_id`, trained by `objective`."""

    def __init__(self, config: TraineeConfig, objective: Objective) -> None:
        self.config, self.objective = config, objective
        seeds = agent_seeds(config.seed, 0, 0)
        self.rollout = Rollout(config.env_id, config.agent, seeds)
        environment = self.rollout.environment
        self.sizes = sizes = (environment.observation_size, environment.action_size)
        self.generator = torch.Generator().manual_seed(seeds.torch_seed)
        self.backend = choose_alone(config.agent, objective, sizes)
        self.backend.load(0, ActorCritic(config.agent, *sizes, self.generator).networks_state())
        self._alpha = _alpha_of(objective)
        self.steps = 0

    def act(self, observation: Array) -> Array:
        """pi_phi(s), `[O] -> [A]`, in [-1, 1]."""
        return self.backend.act({0: observation})[0]

    def step(self) -> Episode | None:
        """One environment step and the updates that are due; the episode if it ended."""
        c = self.config.agent
        episode = self.rollout.step(self.act)
        self.steps += 1
        if len(self.rollout.buffer) >= max(c.learning_starts, c.batch_size):
            minibatch = self.rollout.minibatch(c.batch_size)
            shape = (c.batch_size, c.segment_length, self.rollout.environment.action_size)
            noise = smoothing_noise(shape, c.target_noise, c.target_noise_clip, [self.generator])[0]
            self.backend.update_critics({0: CriticDraw(minibatch, noise)})
            if self.steps % c.policy_delay == 0:
                minibatch = self.rollout.minibatch(c.batch_size)
                around = resampling_noise(self.objective.resample_noise, shape, self.generator)
                draw = PolicyDraw(minibatch, noise=around)
                step = self.backend.update_policies(self._alpha, {0: draw})[0]
                require_finite(step.policy_norm)
        return episode

    def evaluate(
        self, episodes: int, env_id: str | None = None, limit: int = EPISODE_LIMIT
    ) -> list[Episode]:
        """Undisturbed episodes of the deterministic policy; always the same initial states.

        In the environment that it trains in, or in another one of the same sizes.
        """
        c = self.config
        return evaluate_policy(env_id or c.env_id, c.seed, self.act, episodes, limit, self.sizes)

    @property
    def resumable(self) -> bool:
        """Whether `state_dict` is complete now: it always is."""
        return True

    def close(self) -> None:
        """Free the environment."""
        self.rollout.environment.close()

    def policy_arrays(self) -> dict[str, Array]:
        """The policy's network by name: `w{i} [in, out]`, `b{i}`, `gamma{i}`, `beta{i}` ..."""
        net = AgentNetworks.of(self.config.agent, *self.sizes).policy
        views = net.layout.views(torch.tensor(self.backend.networks(0)["phi"]).reshape(-1))
        return {name: view.numpy() for name, view in views.items()}

    def state_dict(self) -> dict[str, Any]:
        """Everything but the objective, which does not change."""
        return {
            "actor_critic": self.backend.networks(0)
            | {"generator": self.generator.get_state().numpy().copy()},
            "rollout": self.rollout.state_dict(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.backend.load(0, state["actor_critic"])
        self.generator.set_state(torch.from_numpy(state["actor_critic"]["generator"].copy()))
        self.rollout.load_state_dict(state["rollout"])
        self.steps = int(state["steps"])


def _alpha_of(objective: Objective) -> Array:
    """The learned objective's parameters; none of a hand-made one."""
    if isinstance(objective, Learned):
        alpha: Array = objective.learned.alpha.numpy()
        return alpha
    return np.empty(0, np.float32)
