"""Parameters, targets and optimisers of K agents along a leading axis, and their two updates.

The equations of `agents/backend/one_by_one.py` for all agents in one go and
on any device. No function here waits for the device: what an agent may not do is decided by flags,
`active [K]`, under which a tensor keeps what it had.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from metagenrl.learner.hyperparams import AgentConfig, MetaConfig
from metagenrl.learner.measures import measure
from metagenrl.learner.meta_gradient import meta_gradient_by_autograd, regression_residual
from metagenrl.learner.networks import mlp
from metagenrl.learner.networks.agent_networks import AgentNetworks
from metagenrl.learner.objective.stacked_objective import StackedObjective
from metagenrl.learner.stacked_adam import StackedAdam, clip_each, expand, keep, normalize_each
from metagenrl.learner.stacked_critic import td_gradient, td_target
from metagenrl.learner.stacked_evaluation import (
    StackedEvaluation,
    stacked_inputs,
    valid_steps,
    value_gradient,
)
from metagenrl.learner.types import Batch

_NETWORKS = ("phi", "theta", "phi_target", "theta_target")


@dataclass(frozen=True)
class PolicyStep:
    """What an update of policies and objective found, `[K]` but for `gradient`."""

    gradient: Tensor  # [K, P_alpha], clipped or normalised
    norm: Tensor  # of the gradient before that
    loss: Tensor  # mean l_t
    policy_norm: Tensor  # of the policy's gradient before its clip; not finite: it was not taken
    value_after: Tensor  # J
    values: dict[str, Tensor]  # by `Measure.name`


def batch_of(batch: Batch, agent: int) -> Batch:
    """One agent's minibatch out of those of all."""
    return Batch(
        batch.observations[agent], batch.actions[agent], batch.rewards[agent],
        batch.terminated[agent], batch.mask[agent],
    )  # fmt: skip


class StackedAgents:
    """phi `[K, 1, P]`, theta `[K, C, P]`, their targets and Adam states."""

    def __init__(
        self, nets: AgentNetworks, agent: AgentConfig, meta: MetaConfig, objective: StackedObjective
    ) -> None:
        """As many agents as `objective` has, on its device and in its type. All are 0 at first."""
        self.nets, self.agent, self.meta, self.objective = nets, agent, meta, objective
        k, new = objective.agents, objective.alpha.new_zeros
        policy, critic = nets.policy.layout, nets.critic.layout
        self.phi, self.phi_target, self._phi_gradient = (new(k, 1, policy.size) for _ in range(3))
        self.theta, self.theta_target, self._theta_gradient = (
            new(k, nets.critics, critic.size) for _ in range(3)
        )
        self._phi_adam = StackedAdam(self.phi, agent.policy_learning_rate)
        self._theta_adam = StackedAdam(self.theta, agent.critic_learning_rate)
        self._phi, self._phi_target, self._phi_gradients = (
            policy.views(x.view(k, -1)) for x in (self.phi, self.phi_target, self._phi_gradient)
        )
        self._theta1 = critic.views(self.theta[:, 0])
        self._theta, self._theta_target, self._theta_gradients = (
            critic.views(x.view(k * nets.critics, -1))
            for x in (self.theta, self.theta_target, self._theta_gradient)
        )

    def act(self, observations: Tensor) -> Tensor:
        """pi_phi(s) of every agent: `[K, O] -> [K, A]`."""
        pre = mlp.evaluate(self.nets.policy, self._phi, observations.unsqueeze(1))
        return pre.tanh().squeeze(1)

    def update_critics(self, batch: Batch, noise: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
        """One Adam step on each agent's TD loss (Eq. 5): losses and mean Q, `[K]`.

        `noise [K, B, T, A]`: the target policies' smoothing.
        """
        y = td_target(
            self.nets, self._phi_target, self._theta_target, batch, noise,
            self.agent.gamma,
        )  # fmt: skip
        found = td_gradient(self.nets, self._theta, batch, y, self._theta_gradients)
        self._theta_adam.step(self._theta_gradient, active)
        return found

    def update_policies(
        self, batches: Sequence[Batch], p: Tensor | None, active: Tensor
    ) -> PolicyStep:
        """Policy updates, targets and meta-gradients (Eq. 6 and 8), all starting from one phi.

        `batches`: one for each inner step, and one that is held out. The policy takes the first.
        `p [K]` is each agent's weight of the objective while it is annealed (B.2), None where
        all are 1. An agent whose policy's gradient is not finite keeps its policy and targets.
        """
        inner = batches[0]
        evaluation = StackedEvaluation(self.nets, self._phi, self._theta1, inner)
        tape = self.objective.forward(
            evaluation.pi, stacked_inputs(self.objective.net.config, evaluation)
        )
        action_gradient = self.objective.action_gradient(tape)
        evaluation.policy_gradient(action_gradient, self._phi_gradients)
        valid = valid_steps(inner)
        if len(batches) > 2:
            g, j = self._by_autograd(batches)
        else:
            u, j = self._direction(evaluation, action_gradient, batches[1])
            g = self.objective.alpha_gradient(tape, u)
        scale = normalize_each if self.meta.gradient_scaling == "normalize" else clip_each
        g, norm = scale(g, self.meta.gradient_clip)
        policy_norm = self._step(evaluation, action_gradient, p, active)
        values = measure(evaluation.pi, inner)
        return PolicyStep(g, norm, tape.loss.sum((1, 2)) / valid, policy_norm, j, values)

    def _by_autograd(self, batches: Sequence[Batch]) -> tuple[Tensor, Tensor]:
        """Each agent's gradient through several inner steps, `[K, P_alpha]`, and J `[K]`."""
        critic, objective = self.nets.critic.layout, self.objective
        found = [
            meta_gradient_by_autograd(
                self.meta, objective.net, self.nets, objective.alpha, self.phi[k],
                critic.views(self.theta[k]), [batch_of(batch, k) for batch in batches],
            )
            for k in range(objective.agents)
        ]  # fmt: skip
        return torch.stack([g for g, _ in found]), torch.stack([j for _, j in found])

    def _direction(
        self, evaluation: StackedEvaluation, action_gradient: Tensor, held_out: Batch
    ) -> tuple[Tensor, Tensor]:
        """u of <dL/d pi, u>, whose gradient by alpha is the meta-gradient, and J `[K]`."""
        inner, valid = evaluation.batch, valid_steps(evaluation.batch)
        if self.meta.outer_loss == "action_regression":
            gradient = evaluation.action_value_gradient
            u = regression_residual(action_gradient, gradient, inner.mask)
            return u, (evaluation.v * inner.mask).sum((1, 2)) / valid
        rate = torch.full_like(valid, self.meta.inner_step_size)
        rate = rate / valid if self.meta.inner_reduction == "mean" else rate
        phi_prime = (self.phi - expand(rate, self.phi) * self._phi_gradient).squeeze(1)
        j, v = value_gradient(self.nets, phi_prime, self._theta1, (inner, held_out))
        tangent = evaluation.policy_tangent(self.nets.policy.layout.views(v))
        return tangent * -expand(rate, tangent), j

    def _step(
        self,
        evaluation: StackedEvaluation,
        action_gradient: Tensor,
        p: Tensor | None,
        active: Tensor,
    ) -> Tensor:
        """Adam and Polyak from the gradient of the summed objective; the norms before the clip."""
        if p is not None:
            critic = -evaluation.action_value_gradient * evaluation.batch.mask.unsqueeze(-1)
            action_gradient = torch.lerp(critic, action_gradient, expand(p, critic))
        if p is not None or self.agent.action_penalty:
            evaluation.policy_gradient(
                action_gradient, self._phi_gradients, self.agent.action_penalty
            )
        mean = self._phi_gradient.squeeze(1) / valid_steps(evaluation.batch).unsqueeze(-1)
        clipped, norm = clip_each(mean, self.agent.policy_gradient_clip)
        taken = active & torch.isfinite(norm)
        self._phi_adam.step(clipped.unsqueeze(1), taken)
        for target, own in ((self.phi_target, self.phi), (self.theta_target, self.theta)):
            keep(target, torch.lerp(target, own, self.agent.polyak), expand(taken, own))
        return norm

    def networks_state(self, agent: int) -> dict[str, Any]:
        """What `ActorCritic.networks_state` gives, for one agent."""
        state: dict[str, Any] = {n: getattr(self, n)[agent].cpu().numpy().copy() for n in _NETWORKS}
        state["phi_adam"] = self._phi_adam.state_dict(agent)
        state["theta_adam"] = self._theta_adam.state_dict(agent)
        return state

    def load_networks_state(self, agent: int, state: dict[str, Any]) -> None:
        """Restore what `ActorCritic.networks_state` gave; raises where a shape differs."""
        for name in _NETWORKS:
            own = getattr(self, name)[agent]
            own.copy_(torch.tensor(state[name]).view_as(own))
        self._phi_adam.load_state_dict(agent, state["phi_adam"])
        self._theta_adam.load_state_dict(agent, state["theta_adam"])
