"""Parameters, targets and optimisers of K agents along a leading axis, and their two updates.

On any device, and no function here waits for it: what an agent may not do is decided by flags,
`active [K]`, under which a tensor keeps what it had.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from metagenrl.learner.critic import td_gradient, td_target
from metagenrl.learner.hyperparams import AgentConfig, MetaConfig
from metagenrl.learner.measures import measure
from metagenrl.learner.meta_gradient import meta_gradient_by_autograd, regression_residual
from metagenrl.learner.networks import mlp
from metagenrl.learner.networks.agent_networks import AgentNetworks
from metagenrl.learner.objective.derivatives import ObjectiveTape
from metagenrl.learner.ops import PLAIN, ObjectiveOfAll, Ops
from metagenrl.learner.policy_update import Learned, Objective, ObjectiveValue
from metagenrl.learner.resampling import resampled
from metagenrl.learner.stacked_adam import StackedAdam, clip_each, expand, normalize_each
from metagenrl.learner.stacked_evaluation import (
    StackedEvaluation,
    batch_of,
    valid_steps,
    value_gradient,
)
from metagenrl.learner.types import Batch

_NETWORKS = ("phi", "theta", "phi_target", "theta_target")


@dataclass(frozen=True)
class PolicySteps:
    """The result of an update of policies and objective, `[K]` but for `gradient`."""

    gradient: Tensor  # [K, P_alpha], clipped or normalised
    norm: Tensor  # of the gradient before that
    loss: Tensor  # mean l_t
    policy_norm: Tensor  # of the policy's gradient before its clip; not finite: it was not taken
    value_after: Tensor  # J
    values: dict[str, Tensor]  # by `Measure.name`


def stacked(objective: Objective, like: Tensor, ops: Ops) -> ObjectiveOfAll | None:
    """The learned objective for as many agents as `like [K]` has; None for a hand-made one."""
    if not isinstance(objective, Learned):
        return None
    alpha = objective.learned.alpha.to(like.device, like.dtype).clone()
    return ops.objective(objective.learned.net, alpha, len(like))


class StackedAgents:
    """phi `[K, 1, P]`, theta `[K, C, P]`, their targets and Adam states."""

    def __init__(
        self,
        nets: AgentNetworks,
        agent: AgentConfig,
        meta: MetaConfig | None,
        objective: Objective,
        like: Tensor,
        ops: Ops = PLAIN,
    ) -> None:
        """As many agents as `like [K]` has, on its device and in its type. All are 0 at first.

        Where `meta` is None the objective stays as it is: there is no meta-gradient.
        """
        self.nets, self.agent, self.meta, self.ops = nets, agent, meta, ops
        self.objective, self.learned = objective, stacked(objective, like, ops)
        k, new = len(like), like.new_zeros
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
        self.ops.adam(self._theta_adam, self._theta_gradient, active)
        return found

    def update_policies(
        self,
        batches: Sequence[Batch],
        p: Tensor | None,
        active: Tensor,
        noise: Tensor | None = None,
    ) -> PolicySteps:
        """Policy updates, targets and meta-gradients (Eq. 6 and 8), all starting from one phi.

        `batches`: one for each inner step, and one that is held out. The policy takes the first.
        `p [K]` is each agent's weight of the objective while it is annealed (B.2), None where
        all are 1. `noise [K, k B, T, A]` is that of the actions shown to the objective, None where
        these are the taken ones. An agent whose policy's gradient is not finite keeps its policy
        and targets.
        """
        taken = batches[0]
        evaluation = StackedEvaluation(self.nets, self._phi, self._theta1, taken)
        if noise is not None:
            batches = resampled(self.nets, self._phi, batches, noise, evaluation.pi)
            evaluation.batch = batches[0]
        value, tape = self._value(evaluation)
        evaluation.policy_gradient(value.action_gradient, self._phi_gradients)
        g, norm, j = self._meta_gradients(evaluation, value, tape, batches)
        policy_norm = self._step(evaluation, value.action_gradient, p, active)
        loss = value.loss.sum((1, 2)) / valid_steps(batches[0])
        return PolicySteps(g, norm, loss, policy_norm, j, measure(evaluation.pi, taken))

    def _value(self, evaluation: StackedEvaluation) -> tuple[ObjectiveValue, ObjectiveTape | None]:
        """The objective of every agent, and the learned one's tape."""
        if self.learned is None:
            return self.objective(evaluation), None
        inputs = self.ops.inputs(self.learned.net.config, evaluation)
        tape = self.learned.forward(evaluation.pi, inputs)
        return ObjectiveValue(tape.loss, self.learned.action_gradient(tape)), tape

    def _meta_gradients(
        self,
        evaluation: StackedEvaluation,
        value: ObjectiveValue,
        tape: ObjectiveTape | None,
        batches: Sequence[Batch],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Each agent's gradient of alpha `[K, P_alpha]`, its norm before the clip, and J `[K]`."""
        meta, objective, nothing = self.meta, self.learned, value.loss.new_zeros(len(value.loss))
        if meta is None:
            return nothing.unsqueeze(-1)[:, :0], nothing, nothing * math.nan
        assert objective is not None, "hand-made objectives do not learn"
        assert tape is not None, "the learned one leaves one"
        if len(batches) > 2:
            g, j = self._by_autograd(meta, objective, batches)
        else:
            u, j = self._direction(meta, evaluation, value.action_gradient, batches[1])
            g = objective.alpha_gradient(tape, u)
        scale = normalize_each if meta.gradient_scaling == "normalize" else clip_each
        return *scale(g, meta.gradient_clip), j

    def _by_autograd(
        self, meta: MetaConfig, objective: ObjectiveOfAll, batches: Sequence[Batch]
    ) -> tuple[Tensor, Tensor]:
        """Each agent's gradient through several inner steps, `[K, P_alpha]`, and J `[K]`."""
        critic = self.nets.critic.layout
        found = [
            meta_gradient_by_autograd(
                meta, objective.net, self.nets, objective.alpha, self.phi[k],
                critic.views(self.theta[k]), [batch_of(batch, k) for batch in batches],
            )
            for k in range(objective.agents)
        ]  # fmt: skip
        return torch.stack([g for g, _ in found]), torch.stack([j for _, j in found])

    def _direction(
        self,
        meta: MetaConfig,
        evaluation: StackedEvaluation,
        action_gradient: Tensor,
        held_out: Batch,
    ) -> tuple[Tensor, Tensor]:
        """u of <dL/d pi, u>, whose gradient by alpha is the meta-gradient, and J `[K]`."""
        inner, valid = evaluation.batch, valid_steps(evaluation.batch)
        if meta.outer_loss == "action_regression":
            gradient = evaluation.action_value_gradient
            u = regression_residual(action_gradient, gradient, inner.mask)
            return u, (evaluation.v * inner.mask).sum((1, 2)) / valid
        rate = torch.full_like(valid, meta.inner_step_size)
        rate = rate / valid if meta.inner_reduction == "mean" else rate
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
        self.ops.adam(self._phi_adam, clipped.unsqueeze(1), taken)
        for target, own in ((self.phi_target, self.phi), (self.theta_target, self.theta)):
            self.ops.follow(target, own, self.agent.polyak, taken)
        return norm

    def networks_state(self, agent: int) -> dict[str, Any]:
        """One agent's networks, as of `ActorCritic.networks_state`."""
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
