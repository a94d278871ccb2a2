"""The objective's gradient: differentiate the critic through policy updates (Eq. 6 and 8).

    phi'  = phi - lambda_3 grad_phi sum_{B,T} l_t(tau_1)
    J     = mean over tau_1 and tau_2 of Q_theta1(s, pi_phi'(s))
    g     = -grad_alpha J

`meta_gradient` is the fast form: with v = d(-J)/d phi' and u = -lambda_3 (d pi_phi / d phi) v,
g = grad_alpha <dL/d pi, u> (section 6), so the second derivative goes through the small objective
only. Of several inner steps the last is that, and each one before gets its v from the one after:
v - lambda_3 (d^2 L / d phi^2) v, by the objective's second derivative along u and the policy's
along v. `meta_gradient_by_autograd` is the definition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metagenrl.learner.hyperparams import MetaConfig
from metagenrl.learner.networks.agent_networks import AgentNetworks, apply_critic, apply_policy
from metagenrl.learner.networks.mlp import Views
from metagenrl.learner.objective.derivatives import LearnedObjective
from metagenrl.learner.objective.features import normalize_direction
from metagenrl.learner.objective.inputs import inputs_on
from metagenrl.learner.objective.net import ObjectiveNet
from metagenrl.learner.objective.net import apply as apply_objective
from metagenrl.learner.policy_update import Learned, ObjectiveValue
from metagenrl.learner.policy_value import PlainEvaluation, PolicyEvaluation, member
from metagenrl.learner.types import Batch


def inner_rate(config: MetaConfig, batch: Batch) -> float:
    """Step size on the *summed* inner loss: lambda_3, or lambda_3 / valid steps for the mean."""
    if config.inner_reduction == "sum":
        return config.inner_step_size
    return config.inner_step_size / max(float(batch.mask.sum()), 1.0)


def regression_residual(
    action_gradient: Tensor, action_value_gradient: Tensor, mask: Tensor
) -> Tensor:
    """u = (dL/d pi + dQ/da / rms(dQ/da)) / valid steps: `[..., B, T, A]`, 0 on padding.

    With it <dL/d pi, u> has the gradient, by alpha, of half the mean of |dL/d pi + dQ/da / rms|^2:
    to first order the step pi - dL/d pi then maximises Q(s, pi') - |pi' - pi|^2 / 2, a step in the
    space of actions that a proximal term holds. Our addition (section 12).
    """
    valid = mask.sum((-2, -1)).clamp(min=1)[..., None, None, None]
    direction = normalize_direction(action_value_gradient, mask)
    return (action_gradient * mask.unsqueeze(-1) + direction) / valid


def meta_gradient(
    config: MetaConfig,
    objective: Learned,
    value: ObjectiveValue,
    evaluation: PolicyEvaluation,
    phi: Tensor,
    summed_gradient: Tensor,
    others: Sequence[Batch],
) -> tuple[Tensor, Tensor]:
    """g_i `[P_alpha]` before clipping, and J `[]`.

    Args:
        evaluation: phi evaluated on tau_1.
        value: the objective on that evaluation.
        phi: `[1, P]`, the policy before the update.
        summed_gradient: grad_phi of the *summed* objective on tau_1, `[1, P]`.
        others: tau_2 and on, one for each further inner step and one that is held out.
    """
    assert value.tape is not None, "the learned objective leaves one"
    learned = objective.learned
    if config.outer_loss == "action_regression":
        mask = evaluation.batch.mask
        u = regression_residual(value.action_gradient, evaluation.action_value_gradient, mask)
        j = (evaluation.v * mask).sum() / mask.sum().clamp(min=1)
        return learned.alpha_gradient(value.tape, u), j
    steps = [_InnerStep(phi, evaluation, value, inner_rate(config, evaluation.batch))]
    phi = torch.add(phi, summed_gradient, alpha=-steps[0].rate)
    for batch in others[:-1]:
        evaluation = evaluation.elsewhere(phi, batch)
        steps.append(_InnerStep(phi, evaluation, objective(evaluation), inner_rate(config, batch)))
        phi = steps[-1].updated()
    j, v = steps[0].evaluation.value_gradient(phi, others)
    later = []
    for step in steps[:0:-1]:
        g, v = step.backward(learned, v)
        later.append(g)
    return sum(later, learned.alpha_gradient(value.tape, steps[0].direction(v))), j


@dataclass(frozen=True)
class _InnerStep:
    """phi' = phi - rate grad_phi L on one minibatch."""

    phi: Tensor  # [1, P]
    evaluation: PolicyEvaluation
    value: ObjectiveValue
    rate: float

    def updated(self) -> Tensor:
        """phi' `[1, P]`."""
        gradient = torch.empty_like(self.phi)
        views = self.evaluation.nets.policy.layout.views(gradient)
        self.evaluation.policy_gradient(self.value.action_gradient, views)
        return torch.add(self.phi, gradient, alpha=-self.rate)

    def direction(self, v: Tensor) -> Tensor:
        """u `[B, T, A]`, from v = d(-J)/d phi' `[1, P]`."""
        views = self.evaluation.nets.policy.layout.views(v)
        return self.evaluation.policy_tangent(views).mul_(-self.rate)

    def backward(self, learned: LearnedObjective, v: Tensor) -> tuple[Tensor, Tensor]:
        """This step's part of g, and d(-J)/d phi = v - rate (d^2 L / d phi^2) v."""
        g, curvature = learned.second_derivatives(self.value.tape, self.direction(v))
        slope = self.value.action_gradient * -self.rate
        return g, v + self.evaluation.policy_curvature(self.phi, v, slope, curvature)


def meta_gradient_by_autograd(
    config: MetaConfig,
    net: ObjectiveNet,
    nets: AgentNetworks,
    alpha: Tensor,
    phi: Tensor,
    theta: Views,
    batches: Sequence[Batch],
) -> tuple[Tensor, Tensor]:
    """g_i and J by double backward, for `k = len(batches) - 1` inner steps (Eq. 8).

    Each inner step takes its own minibatch; J is evaluated on all of them and one more.
    """
    with torch.enable_grad():
        alpha = alpha.detach().requires_grad_()
        phi_k = phi.detach().requires_grad_()
        for batch in batches[:-1]:
            views = nets.policy.layout.views(phi_k)
            inputs = inputs_on(net.config, PlainEvaluation(nets, views, theta, batch))
            pi = apply_policy(nets.policy, views, batch.observations[:, :-1])
            loss = apply_objective(net, alpha, pi, inputs).sum()
            (gradient,) = torch.autograd.grad(loss, phi_k, create_graph=True)
            phi_k = phi_k - inner_rate(config, batch) * gradient
        j = mean_value(nets, phi_k, theta, batches)
        (g,) = torch.autograd.grad(-j, alpha)
    return g, j.detach()


def mean_value(nets: AgentNetworks, phi: Tensor, theta: Views, batches: Sequence[Batch]) -> Tensor:
    """J: the mean of Q_theta1(s, pi_phi(s)) over all valid steps, in plain torch: `[]`."""
    views, theta1 = nets.policy.layout.views(phi), member(theta, 0)
    total, count = phi.new_zeros(()), phi.new_zeros(())
    for batch in batches:
        s = batch.observations[:, :-1]
        q = apply_critic(nets.critic, theta1, s, apply_policy(nets.policy, views, s))[0]
        total, count = total + (q * batch.mask).sum(), count + batch.mask.sum()
    return total / count.clamp(min=1)
