"""On-policy REINFORCE with a GAE critic (appendix B.3; Eq. 3): a Gaussian policy, ours.

Per rollout: GAE from a state-value critic, one Adam step of the policy along the standardised
advantages, then `value_epochs` Adam steps of the critic towards V + A.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metagenrl.agents.environment.limits import EPISODE_LIMIT
from metagenrl.agents.evaluation_episodes import evaluate_policy
from metagenrl.agents.experience.rollout import Episode
from metagenrl.agents.seeding import agent_seeds, restore_rng, rng_state
from metagenrl.baselines.reinforce_loss import gaussian_log_prob, reinforce_loss, standardized
from metagenrl.baselines.reward_scale import RewardScale
from metagenrl.baselines.rollout_buffer import EpisodeSegments, RolloutBuffer
from metagenrl.baselines.steady_environment import SteadyEnvironment
from metagenrl.learner import ops
from metagenrl.learner.adam import Adam, clip_by_norm
from metagenrl.learner.hyperparams import AgentConfig
from metagenrl.learner.networks import mlp
from metagenrl.learner.networks.agent_networks import apply_policy, initial_parameters
from metagenrl.learner.networks.mlp import MLP
from metagenrl.learner.networks.parameters import Layout
from metagenrl.learner.returns import generalized_advantage
from metagenrl.learner.types import Array
from metagenrl.runs.agent_job import TraineeJob
from metagenrl.runs.config.baselines import OnPolicyConfig

_INITIAL_STD = 0.5  # half of the way from the middle of the action's range to its bound
_INITIAL_MEAN_SCALE = 0.01  # of the policy's last layer: actions start in the middle


@dataclass(frozen=True)
class ReinforceConfig:
    """One agent."""

    env_id: str
    seed: int
    agent: AgentConfig
    on_policy: OnPolicyConfig


class ReinforceAgent:
    """pi(a | s) = N(tanh(f(s)), diag(sigma^2)) and V(s), two networks as in section 4."""

    def __init__(self, config: ReinforceConfig) -> None:
        """Raises `ValueError` as `check_environment` does."""
        self.config, agent = config, config.agent
        seeds = agent_seeds(config.seed, 0, 0)
        self.environment = SteadyEnvironment(config.env_id, seeds.environment)
        self.exploration, self.rewards = seeds.exploration, RewardScale(agent.gamma)
        o, a = (self.environment.environment.observation_size,
                self.environment.environment.action_size)  # fmt: skip
        units, layers = agent.hidden_units, agent.hidden_layers
        self.policy_net = MLP(o, units, layers, a, units)
        self.value_net = MLP(o, units, layers, 1, units)
        self.policy_layout = Layout((*self.policy_net.layout.shapes, ("log_std", (a,))))
        generator = torch.Generator().manual_seed(seeds.torch_seed)
        policy = initial_parameters(self.policy_net, 1, generator)
        self.policy_net.layout.views(policy)["w_out"].mul_(_INITIAL_MEAN_SCALE)
        log_std = torch.full((1, a), math.log(_INITIAL_STD))
        self.policy = torch.cat([policy, log_std], -1)
        self.value = initial_parameters(self.value_net, 1, generator)
        self.policy_adam = ops.adam(self.policy, agent.policy_learning_rate)
        self.value_adam = ops.adam(self.value, agent.critic_learning_rate)
        self.buffer = RolloutBuffer(config.on_policy.rollout_steps, o, a)
        self.steps = 0

    @torch.no_grad()
    def act(self, observation: Array) -> Array:
        """The policy's mean for one observation: `[O] -> [A]`, in [-1, 1]."""
        s = torch.from_numpy(np.ascontiguousarray(observation, np.float32)).view(1, 1, -1)
        views = self.policy_layout.views(self.policy)
        action: Array = mlp.evaluate(self.policy_net, views, s).tanh_().view(-1).numpy()
        return action

    def step(self) -> Episode | None:
        """One environment step, and the update if it completes a rollout; the episode if it ended.

        Raises `EnvironmentFailed` and `FloatingPointError`.
        """
        observation = self.environment.observation
        observation = self.environment.reset() if observation is None else observation
        std = self.policy_layout.views(self.policy)["log_std"].exp().view(-1).numpy()
        noise = self.exploration.normal(size=std.shape)
        action = (self.act(observation) + std * noise).astype(np.float32)
        result = self.environment.step(action)
        reward = self.rewards(result.reward, result.terminated or result.truncated)
        self.buffer.add(observation, action, reward, result)
        self.steps += 1
        if self.buffer.full:
            self._update(self.buffer.segments())
            self.buffer.clear()
        finished = self.environment.take_finished()
        return finished[-1] if finished else None

    def _update(self, batch: EpisodeSegments) -> None:
        with torch.no_grad():
            v, v_next = self._values(self.value, batch)
            advantage = generalized_advantage(
                batch.rewards, v, v_next, batch.terminated, batch.mask,
                self.config.agent.gamma, self.config.agent.gae_lambda,
            )  # fmt: skip
        policy = self.policy.detach().requires_grad_()
        loss = self.policy_loss(policy, batch, standardized(advantage, batch.mask))
        self._descend(loss, policy, self.policy_adam)
        target = v + advantage
        for _ in range(self.config.on_policy.value_epochs):
            value = self.value.detach().requires_grad_()
            error = (self._state_values(value, batch.observations) - target).square()
            self._descend((error * batch.mask).sum() / batch.mask.sum(), value, self.value_adam)

    def policy_loss(self, policy: Tensor, batch: EpisodeSegments, advantage: Tensor) -> Tensor:
        """REINFORCE's loss of the parameters `policy [1, P]` on a rollout; `advantage [B, T]`."""
        views = self.policy_layout.views(policy)
        mean = apply_policy(self.policy_net, views, batch.observations)  # [B, T, A]
        log_prob = gaussian_log_prob(mean, views["log_std"][0], batch.actions)
        return reinforce_loss(log_prob, advantage, batch.mask)

    def _descend(self, loss: Tensor, parameters: Tensor, adam: Adam) -> None:
        """One clipped Adam step; `parameters` shares its memory with what `adam` updates."""
        (gradient,) = torch.autograd.grad(loss, parameters)
        norm = clip_by_norm(gradient, self.config.agent.policy_gradient_clip)
        if not math.isfinite(norm):
            raise FloatingPointError(f"a gradient has norm {norm}")
        with torch.no_grad():
            adam.step(gradient)

    def _values(self, value: Tensor, batch: EpisodeSegments) -> tuple[Tensor, Tensor]:
        """V_t and V_{t+1}, `[B, T]` each."""
        states = torch.stack([batch.observations, batch.next_observations])
        v, v_next = self._state_values(value, states)
        return v, v_next

    def _state_values(self, value: Tensor, states: Tensor) -> Tensor:
        """V(s): `[..., O] -> [...]`."""
        rows = states.reshape(1, -1, states.shape[-1])
        v = mlp.apply(self.value_net, self.value_net.layout.views(value), rows)
        return v.reshape(states.shape[:-1])

    def evaluate(
        self, episodes: int, env_id: str | None = None, limit: int = EPISODE_LIMIT
    ) -> list[Episode]:
        """Undisturbed episodes of the policy's mean; always the same initial states."""
        own = self.environment.environment
        sizes = (own.observation_size, own.action_size)
        env_id = env_id or self.config.env_id
        return evaluate_policy(env_id, self.config.seed, self.act, episodes, limit, sizes)

    def policy_arrays(self) -> dict[str, Array]:
        """The network of the policy's mean, by name."""
        views = self.policy_layout.views(self.policy[0])
        return {name: v.numpy().copy() for name, v in views.items() if name != "log_std"}

    @property
    def resumable(self) -> bool:
        """Whether `state_dict` is complete now: it always is."""
        return True

    def close(self) -> None:
        """Free the environment."""
        self.environment.close()

    def state_dict(self) -> dict[str, Any]:
        """Everything, the rollout in progress included."""
        return {
            "environment": self.environment.state_dict(),
            "exploration": rng_state(self.exploration),
            "rewards": self.rewards.state_dict(),
            "buffer": self.buffer.state_dict(),
            "policy": self.policy.numpy().copy(),
            "value": self.value.numpy().copy(),
            "policy_adam": self.policy_adam.state_dict(),
            "value_adam": self.value_adam.state_dict(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; raises where a shape differs."""
        self.environment.load_state_dict(state["environment"])
        self.exploration = restore_rng(state["exploration"])
        self.rewards.load_state_dict(state["rewards"])
        self.buffer.load_state_dict(state["buffer"])
        self.policy.copy_(torch.tensor(state["policy"]).view_as(self.policy))
        self.value.copy_(torch.tensor(state["value"]).view_as(self.value))
        self.policy_adam.load_state_dict(state["policy_adam"])
        self.value_adam.load_state_dict(state["value_adam"])
        self.steps = int(state["steps"])


def make_agent(job: TraineeJob) -> ReinforceAgent:
    """The agent of a job."""
    return ReinforceAgent(ReinforceConfig(job.env, job.seed, job.agent, job.on_policy))
