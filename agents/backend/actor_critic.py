"""One agent's networks, targets and optimisers, and the two updates of Algorithms 1 and 2."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from metagenrl.learner import ops
from metagenrl.learner.adam import clip_by_norm
from metagenrl.learner.critic import smoothing_noise, td_gradient, td_target
from metagenrl.learner.hyperparams import AgentConfig
from metagenrl.learner.native.policy_updates import PolicyState
from metagenrl.learner.native.updates import CriticState
from metagenrl.learner.networks import mlp
from metagenrl.learner.networks.agent_networks import AgentNetworks, initial_parameters
from metagenrl.learner.policy_update import ObjectiveValue
from metagenrl.learner.policy_value import PolicyEvaluation
from metagenrl.learner.types import Array, Batch


class CriticSeen(NamedTuple):
    """The numbers of a critic update."""

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
        self.phi_adam = ops.adam(self.phi, config.policy_learning_rate)
        self.theta_adam = ops.adam(self.theta, config.critic_learning_rate)
        self.critic_state = CriticState(
            self.phi_target, self.theta_target, self.theta_gradient, self.theta_adam
        )
        self.policy_state = PolicyState(
            self.phi_gradient, self.phi_adam, self.phi_target, self.theta_target, self.theta
        )

    @torch.no_grad()
    def act(self, observation: Array) -> Array:
        """pi_phi(s) for one observation: `[O] -> [A]`, in [-1, 1]."""
        row = torch.from_numpy(np.array(observation, np.float32)).view(1, 1, -1)
        action: Array = mlp.evaluate(self.nets.policy, self.phi_views, row).tanh_()[0, 0].numpy()
        return action

    @torch.no_grad()
    def update_critic(self, batch: Batch, noise: Tensor | None = None) -> CriticSeen:
        """One Adam step on the TD loss (Eq. 5).

        `noise [B, T, A]` smooths the target policy; None: it is drawn from `generator`.
        """
        if noise is None:
            noise = self.draw_noise(tuple(batch.actions.shape))
        targets = self.phi_target_views, self.theta_target_views
        y = td_target(self.nets, *targets, batch.alone, noise[None], self.config.gamma)
        given = self.nets, self.theta_views, batch.alone, y, self.theta_gradient_views
        loss, q = td_gradient(*given)
        self.theta_adam.step(self.theta_gradient)
        return CriticSeen(float(loss), float(q))

    def draw_noise(self, shape: tuple[int, ...]) -> Tensor:
        """The target policy's smoothing for actions of this shape, from `generator`."""
        c = self.config
        return smoothing_noise(shape, c.target_noise, c.target_noise_clip, [self.generator])[0]

    def evaluate(self, batch: Batch) -> PolicyEvaluation:
        """The current policy and first critic on a minibatch (inside `torch.no_grad`)."""
        return ops.evaluate(self.nets, self.phi_views, self.theta_views, batch)

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
