"""An agent trained by a fixed objective: Algorithm 2 with a frozen L_alpha, and the baselines.

TD3 and DDPG are this agent with the critic as its objective, off-policy REINFORCE with GAE
(section 9). There is no annealing and no meta-gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from metagenrl.agents.backend.native import ActorCritic, require_finite
from metagenrl.agents.evaluation_episodes import evaluate_policy
from metagenrl.agents.experience.rollout import Episode, Rollout
from metagenrl.agents.seeding import agent_seeds
from metagenrl.learner.hyperparams import AgentConfig
from metagenrl.learner.native import policy_updates
from metagenrl.learner.policy_update import Learned, Objective


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
        self.actor_critic = ActorCritic(
            config.agent,
            environment.observation_size,
            environment.action_size,
            torch.Generator().manual_seed(seeds.torch_seed),
        )
        self.steps = 0

    def step(self) -> Episode | None:
        """One environment step and the updates that are due; the episode if it ended."""
        c = self.config.agent
        episode = self.rollout.step(self.actor_critic.act)
        self.steps += 1
        if len(self.rollout.buffer) >= max(c.learning_starts, c.batch_size):
            self.actor_critic.update_critic(self.rollout.sample(c.batch_size).batch())
            if self.steps % c.policy_delay == 0:
                self._update_policy()
        return episode

    @torch.no_grad()
    def _update_policy(self) -> None:
        batch = self.rollout.sample(self.config.agent.batch_size).batch()
        ac, objective = self.actor_critic, self.objective
        if isinstance(objective, Learned):
            learned = objective.learned
            if policy_updates.takes(ac.nets, learned.net, ac.phi_views, learned.alpha):
                given = ac.nets, learned.net, learned.alpha, self.config.agent, None
                step = policy_updates.update_policies(*given, [ac.policy_state], [[batch]])[0]
                require_finite(step.policy_norm)
                return
        evaluation = ac.evaluate(batch)
        ac.update_policy(evaluation, objective(evaluation))
        ac.update_targets()

    def evaluate(self, episodes: int, env_id: str | None = None) -> list[Episode]:
        """Undisturbed episodes of the deterministic policy; always the same initial states.

        In the environment that it trains in, or in another one of the same sizes.
        """
        c = self.config
        return evaluate_policy(env_id or c.env_id, c.seed, self.actor_critic.act, episodes)

    @property
    def resumable(self) -> bool:
        """Whether `state_dict` is complete now: it always is."""
        return True

    def close(self) -> None:
        """Free the environment."""
        self.rollout.environment.close()

    def state_dict(self) -> dict[str, Any]:
        """Everything but the objective, which does not change."""
        return {
            "actor_critic": self.actor_critic.state_dict(),
            "rollout": self.rollout.state_dict(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.actor_critic.load_state_dict(state["actor_critic"])
        self.rollout.load_state_dict(state["rollout"])
        self.steps = int(state["steps"])
