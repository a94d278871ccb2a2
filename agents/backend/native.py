"""One agent's networks, targets and optimisers, and the two updates of Algorithms 1 and 2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from metagenrl.learner.adam import Adam, clip_by_norm
from metagenrl.learner.critic import smoothing_noise, td_gradient, td_target
from metagenrl.learner.hyperparams import AgentConfig
from metagenrl.learner.native import updates
from metagenrl.learner.native.policy_updates import PolicyState
from metagenrl.learner.native.updates import CriticState
from metagenrl.learner.networks import mlp
from metagenrl.learner.networks.agent_networks import AgentNetworks, initial_parameters
from metagenrl.learner.policy_update import ObjectiveValue
from metagenrl.learner.policy_value import PolicyEvaluation
from metagenrl.learner.types import Array, Batch


class CriticStep(NamedTuple):
    """What a critic update saw."""

    td_loss: float
    q: float  # mean Q_theta1 on the minibatch


class ActorCritic:
    """phi, theta, their targets and Adam states; everything random comes from `generator`."""

    def __init__(
        self,
        config: AgentConfig,
        observation_size: int,
        action_size: int,
        generator: torch.Generator,
    ) -> None:
        self.config = config
        self.nets = nets = AgentNetworks.of(config, observation_size, action_size)
        self.generator = generator
        self.phi = initial_parameters(nets.policy, 1, generator)
        self.theta = initial_parameters(nets.critic, nets.critics, generator)
        self.phi_target, self.theta_target = self.phi.clone(), self.theta.clone()
        self.phi_gradient = torch.zeros_like(self.phi)
        self.theta_gradient = torch.zeros_like(self.theta)
        policy, critic = nets.policy.layout, nets.critic.layout
        self.phi_views, self.theta_views = policy.views(self.phi), critic.views(self.theta)
        self.phi_target_views = policy.views(self.phi_target)
        self.theta_target_views = critic.views(self.theta_target)
        self.phi_gradient_views = policy.views(self.phi_gradient)
        self.theta_gradient_views = critic.views(self.theta_gradient)
        self.phi_adam = Adam(self.phi, config.policy_learning_rate)
        self.theta_adam = Adam(self.theta, config.critic_learning_rate)
        self.critic_state = CriticState(
            self.phi_target, self.theta_target, self.theta_gradient, self.theta_adam
        )
        self.policy_state = PolicyState(
            self.phi_gradient, self.phi_adam, self.phi_target, self.theta_target, self.theta
        )

    def act(self, observation: Array) -> Array:
        """pi_phi(s) for one observation: `[O] -> [A]`, in [-1, 1]."""
        action: Array = act([self], [observation])[0]
        return action

    def update_critic(self, batch: Batch) -> CriticStep:
        """One Adam step on the TD loss (Eq. 5)."""
        return update_critics([self], [batch])[0]

    def evaluate(self, batch: Batch) -> PolicyEvaluation:
        """The current policy and first critic on a minibatch (inside `torch.no_grad`)."""
        return PolicyEvaluation(self.nets, self.phi_views, self.theta_views, batch)

    @torch.no_grad()
    def update_policy(self, evaluation: PolicyEvaluation, value: ObjectiveValue) -> float:
        """phi <- Adam(phi, grad_phi mean l_t), clipped (section 5); the norm before the clip.

        The loss is mean l_t plus the action penalty, which is 0 in the paper.
        """
        penalty = self.config.action_penalty
        evaluation.policy_gradient(value.action_gradient, self.phi_gradient_views, penalty)
        self.phi_gradient.div_(evaluation.batch.mask.sum().clamp_(min=1))
        return self.apply_policy_gradient()

    def apply_policy_gradient(self) -> float:
        """Clip what is in `phi_gradient` and take Adam's step; the norm before the clip.

        Raises `FloatingPointError` before a gradient that is not finite gets into the policy.
        """
        norm = clip_by_norm(self.phi_gradient, self.config.policy_gradient_clip)
        require_finite(norm)
        self.phi_adam.step(self.phi_gradient)
        return norm

    @torch.no_grad()
    def update_targets(self) -> None:
        """Targets follow with the Polyak rate."""
        self.phi_target.lerp_(self.phi, self.config.polyak)
        self.theta_target.lerp_(self.theta, self.config.polyak)

    def state_dict(self) -> dict[str, Any]:
        """Parameters, targets, optimiser moments and the generator's state."""
        return self.networks_state() | {"generator": self.generator.get_state().numpy().copy()}

    def networks_state(self) -> dict[str, Any]:
        """A copy of parameters, targets and optimiser moments."""
        return {
            "phi": self.phi.numpy().copy(),
            "theta": self.theta.numpy().copy(),
            "phi_target": self.phi_target.numpy().copy(),
            "theta_target": self.theta_target.numpy().copy(),
            "phi_adam": self.phi_adam.state_dict(),
            "theta_adam": self.theta_adam.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; raises where a shape differs."""
        self.load_networks_state(state)
        self.generator.set_state(torch.from_numpy(state["generator"].copy()))

    def load_networks_state(self, state: dict[str, Any]) -> None:
        """Restore what `networks_state` gave; raises where a shape differs."""
        for name in ("phi", "theta", "phi_target", "theta_target"):
            own = getattr(self, name)
            own.copy_(torch.tensor(state[name]).view_as(own))  # copy_ alone would broadcast
        self.phi_adam.load_state_dict(state["phi_adam"])
        self.theta_adam.load_state_dict(state["theta_adam"])


def require_finite(policy_norm: float) -> None:
    """Raises `FloatingPointError` where the policy's gradient is not finite."""
    if not math.isfinite(policy_norm):
        raise FloatingPointError(f"the policy's gradient has norm {policy_norm}")


@torch.no_grad()
def act(agents: Sequence[ActorCritic], observations: Sequence[Array]) -> Array:
    """pi_phi(s) of each agent for an observation `[O]` of its own: `[K, A]`, in [-1, 1].

    All agents have the same environment and configuration, here and in `update_critics`, and each
    gets to the bit what it would get alone.
    """
    nets, s = agents[0].nets, torch.from_numpy(np.array(observations, np.float32))
    if updates.takes(nets, agents[0].phi_views):
        actions = updates.act(nets, [agent.phi for agent in agents], s)
    else:
        rows = zip(agents, s.split(1), strict=True)
        each = [mlp.evaluate(nets.policy, a.phi_views, row.unsqueeze(0)).tanh_() for a, row in rows]
        actions = torch.cat(each, 1)[0]
    together: Array = actions.numpy()
    return together


@torch.no_grad()
def update_critics(agents: Sequence[ActorCritic], batches: Sequence[Batch]) -> list[CriticStep]:
    """One Adam step on the TD loss (Eq. 5) of each agent, on a minibatch of its own."""
    c, nets, shape = agents[0].config, agents[0].nets, tuple(batches[0].actions.shape)
    generators = [agent.generator for agent in agents]
    noise = smoothing_noise(shape, c.target_noise, c.target_noise_clip, generators)
    if updates.takes(nets, agents[0].phi_views):
        states = [agent.critic_state for agent in agents]
        seen = updates.update_critics(nets, states, batches, noise, c.gamma).tolist()
        return [CriticStep(*row) for row in seen]
    each = zip(agents, batches, noise, strict=True)
    return [_update_critic(agent, batch, own) for agent, batch, own in each]


def _update_critic(agent: ActorCritic, batch: Batch, noise: Tensor) -> CriticStep:
    targets = agent.phi_target_views, agent.theta_target_views
    y = td_target(agent.nets, *targets, batch, noise, agent.config.gamma)
    loss, q = td_gradient(agent.nets, agent.theta_views, batch, y, agent.theta_gradient_views)
    agent.theta_adam.step(agent.theta_gradient)
    return CriticStep(float(loss), float(q))
