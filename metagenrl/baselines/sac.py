"""Soft actor-critic with automatic temperature (Haarnoja et al. 2018, arXiv 1812.05905).

    pi(a | s)   a = tanh(mu(s) + sigma(s) xi), xi ~ N(0, I)
    y_t       = r_t + gamma (1 - d_t) (min_j Q_j^-(s_{t+1}, a') - tau log pi(a' | s_{t+1}))
    critics     mean (Q_j(s_t, a_t) - y_t)^2
    policy      mean (tau log pi(a | s_t) - min_j Q_j(s_t, a))
    temperature mean -log tau (log pi(a | s_t) + H), H = -target_entropy A

Replay, twin critics, sizes and step sizes are the agent's own; all three are updated at every step.
Targets follow with the Polyak rate, of the critics alone.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metagenrl.agents.environment.limits import EPISODE_LIMIT
from metagenrl.agents.evaluation_episodes import evaluate_policy
from metagenrl.agents.experience.rollout import Episode, Rollout
from metagenrl.agents.seeding import agent_seeds
from metagenrl.learner import ops
from metagenrl.learner.adam import Adam
from metagenrl.learner.networks import mlp
from metagenrl.learner.networks.agent_networks import apply_critic, initial_parameters
from metagenrl.learner.networks.mlp import MLP
from metagenrl.learner.types import Array, Batch
from metagenrl.runs.agent_job import TraineeJob

_LOG_STD_BOUNDS = (-20.0, 2.0)  # the usual ones


class SacAgent:
    """The agent of a job."""

    def __init__(self, job: TraineeJob) -> None:
        """Raises `ValueError` as `check_environment` does."""
        self.job, agent = job, job.agent
        seeds = agent_seeds(job.seed, 0, 0)
        # What it samples is its exploration: no noise is added.
        self.rollout = Rollout(job.env, replace(agent, exploration_noise=0.0), seeds)
        o = self.rollout.environment.observation_size
        a = self.rollout.environment.action_size
        units, layers = agent.hidden_units, agent.hidden_layers
        self.policy_net = MLP(o, units, layers, 2 * a, units)
        self.critic_net = MLP(o + a, units, layers, 1, units)
        self.generator = torch.Generator().manual_seed(seeds.torch_seed)
        self.policy = initial_parameters(self.policy_net, 1, self.generator)
        self.critics = initial_parameters(self.critic_net, 2, self.generator)
        self.critics_target = self.critics.clone()
        self.log_temperature = torch.tensor([math.log(job.sac.initial_temperature)])
        self.entropy = -job.sac.target_entropy * a
        self.policy_adam = ops.adam(self.policy, agent.policy_learning_rate)
        self.critics_adam = ops.adam(self.critics, agent.critic_learning_rate)
        self.temperature_adam = ops.adam(self.log_temperature, job.sac.temperature_learning_rate)
        self.steps = 0

    def distribution(self, policy: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """mu(s) and log sigma(s) before tanh: `[..., O] -> [..., A]` each."""
        rows = s.reshape(1, -1, s.shape[-1])
        out = mlp.apply(self.policy_net, self.policy_net.layout.views(policy), rows)
        mean, log_std = out.reshape(*s.shape[:-1], -1).chunk(2, -1)
        return mean, log_std.clamp(*_LOG_STD_BOUNDS)

    def sample(self, policy: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """An action in (-1, 1) and log pi of it: `[..., O] -> [..., A], [...]`."""
        mean, log_std = self.distribution(policy, s)
        noise = torch.empty_like(mean).normal_(generator=self.generator)
        x = mean + log_std.exp() * noise
        gaussian = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
        # log(1 - tanh(x)^2) without the rounding where tanh saturates
        squashed = 2 * (math.log(2.0) - x - torch.nn.functional.softplus(-2 * x))
        return x.tanh(), (gaussian - squashed).sum(-1)

    @torch.no_grad()
    def act(self, observation: Array) -> Array:
        """The distribution's mean for one observation: `[O] -> [A]`, in [-1, 1]."""
        action: Array = self.distribution(self.policy, _tensor(observation))[0].tanh().numpy()
        return action

    @torch.no_grad()
    def _explore(self, observation: Array) -> Array:
        action: Array = self.sample(self.policy, _tensor(observation))[0].numpy()
        return action

    def step(self) -> Episode | None:
        """One environment step and an update of everything; the episode if it ended.

        Raises `EnvironmentFailed` and `FloatingPointError`.
        """
        agent = self.job.agent
        episode = self.rollout.step(self._explore)
        self.steps += 1
        if len(self.rollout.buffer) >= max(agent.learning_starts, agent.batch_size):
            self._update(self.rollout.sample(agent.batch_size).batch())
        return episode

    def _update(self, batch: Batch) -> None:
        critics = self.critics.detach().requires_grad_()
        loss = self.critic_loss(critics, batch, self.target(batch))
        self._descend(loss, critics, self.critics_adam)
        policy = self.policy.detach().requires_grad_()
        loss, log_pi = self.policy_loss(policy, batch)
        self._descend(loss, policy, self.policy_adam)
        log_temperature = self.log_temperature.detach().requires_grad_()
        surplus = _mean(log_pi.detach() + self.entropy, batch.mask)
        self._descend(-(log_temperature * surplus).sum(), log_temperature, self.temperature_adam)
        self.critics_target.lerp_(self.critics, self.job.agent.polyak)

    @torch.no_grad()
    def target(self, batch: Batch) -> Tensor:
        """y_t `[B, T]`."""
        s_next = batch.observations[:, 1:]
        a, log_pi = self.sample(self.policy, s_next)
        soft = self._lowest_value(self.critics_target, s_next, a) - self._temperature * log_pi
        return batch.rewards + self.job.agent.gamma * (1 - batch.terminated) * soft

    def critic_loss(self, critics: Tensor, batch: Batch, y: Tensor) -> Tensor:
        """Squared errors of both critics, summed over them, of the parameters `critics [2, P]`."""
        views, s = self.critic_net.layout.views(critics), batch.observations[:, :-1]
        q = apply_critic(self.critic_net, views, s, batch.actions)
        return _mean((q - y).square().sum(0), batch.mask)

    def policy_loss(self, policy: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss of the parameters `policy [1, P]`, and log pi `[B, T]` of what was sampled."""
        s = batch.observations[:, :-1]
        a, log_pi = self.sample(policy, s)
        soft = self._temperature * log_pi - self._lowest_value(self.critics, s, a)
        return _mean(soft, batch.mask), log_pi

    @property
    def _temperature(self) -> Tensor:
        return self.log_temperature.exp()

    def _lowest_value(self, critics: Tensor, s: Tensor, a: Tensor) -> Tensor:
        return apply_critic(self.critic_net, self.critic_net.layout.views(critics), s, a).amin(0)

    def _descend(self, loss: Tensor, parameters: Tensor, adam: Adam) -> None:
        """One step of Adam; `parameters` shares its memory with what `adam` updates."""
        (gradient,) = torch.autograd.grad(loss, parameters)
        if not bool(torch.isfinite(gradient).all()):
            raise FloatingPointError("a gradient of sac is not finite")
        with torch.no_grad():
            adam.step(gradient)

    def evaluate(
        self, episodes: int, env_id: str | None = None, limit: int = EPISODE_LIMIT
    ) -> list[Episode]:
        """Undisturbed episodes of the distribution's mean; always the same initial states."""
        own = self.rollout.environment
        sizes = (own.observation_size, own.action_size)
        env_id = env_id or self.job.env
        return evaluate_policy(env_id, self.job.seed, self.act, episodes, limit, sizes)

    def policy_arrays(self) -> dict[str, Array]:
        """The network of the distribution's mean, by name."""
        views, a = self.policy_net.layout.views(self.policy[0]), self.policy_net.outputs // 2
        mean = {"w_out": views["w_out"][:, :a], "b_out": views["b_out"][:a]}
        return {name: view.numpy().copy() for name, view in (views | mean).items()}

    @property
    def resumable(self) -> bool:
        """Whether `state_dict` is complete now: it always is."""
        return True

    def close(self) -> None:
        """Free the environment."""
        self.rollout.environment.close()

    def state_dict(self) -> dict[str, Any]:
        """Everything."""
        parameters = {name: tensor.numpy().copy() for name, tensor in self._parameters().items()}
        adams = {name: adam.state_dict() for name, adam in self._adams().items()}
        return {
            "parameters": parameters,
            "adams": adams,
            "generator": self.generator.get_state().numpy().copy(),
            "rollout": self.rollout.state_dict(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; raises where a shape differs."""
        for name, tensor in self._parameters().items():
            tensor.copy_(torch.tensor(state["parameters"][name]).view_as(tensor))
        for name, adam in self._adams().items():
            adam.load_state_dict(state["adams"][name])
        self.generator.set_state(torch.from_numpy(state["generator"].copy()))
        self.rollout.load_state_dict(state["rollout"])
        self.steps = int(state["steps"])

    def _parameters(self) -> dict[str, Tensor]:
        return {
            "policy": self.policy,
            "critics": self.critics,
            "critics_target": self.critics_target,
            "log_temperature": self.log_temperature,
        }

    def _adams(self) -> dict[str, Adam]:
        return {
            "policy": self.policy_adam,
            "critics": self.critics_adam,
            "temperature": self.temperature_adam,
        }


def _tensor(observation: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(observation, np.float32))


def _mean(x: Tensor, mask: Tensor) -> Tensor:
    return (x * mask).sum() / mask.sum().clamp(min=1)
