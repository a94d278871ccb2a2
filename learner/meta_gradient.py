"""The objective's gradient: differentiate the critic through policy updates (Eq. 6 and 8).

    phi'  = phi - lambda_3 grad_phi sum_{B,T} l_t(tau_1)
    J     = mean over tau_1 and tau_2 of Q_theta1(s, pi_phi'(s))
    g     = -grad_alpha J

`meta_gradient` is the fast form for one inner step: with v = d(-J)/d phi' and
u = -lambda_3 (d pi_phi / d phi) v, g = grad_alpha <dL/d pi, u> (section 6), so the second
derivative goes through the small objective only. `meta_gradient_by_autograd` is the definition,
for any number of inner steps.
"""

from __future__ import annotations

from collections.abc import Sequence

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
from metagenrl.learner.policy_update import ObjectiveValue
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
    learned: LearnedObjective,
    value: ObjectiveValue,
    evaluation: PolicyEvaluation,
    phi: Tensor,
    summed_gradient: Tensor,
    held_out: Batch,
) -> tuple[Tensor, Tensor]:
    """g_i `[P_alpha]` before clipping, and J `[]`; one inner step on `evaluation`'s minibatch.

    Args:
        evaluation: phi evaluated on tau_1.
        value: the objective on that evaluation.
        phi: `[1, P]`, the policy before the update.
        summed_gradient: grad_phi of the *summed* objective on tau_1, `[1, P]`.
        held_out: tau_2.
    """
    assert value.tape is not None, "the learned objective leaves one"
    mask = evaluation.batch.mask
    if config.outer_loss == "action_regression":
        u = regression_residual(value.action_gradient, evaluation.action_value_gradient, mask)
        j = (evaluation.v * mask).sum() / mask.sum().clamp(min=1)
        return learned.alpha_gradient(value.tape, u), j
    rate = inner_rate(config, evaluation.batch)
    phi_prime = torch.add(phi, summed_gradient, alpha=-rate)
    j, v = evaluation.value_gradient(phi_prime, held_out)
    u = evaluation.policy_tangent(evaluation.nets.policy.layout.views(v)).mul_(-rate)
    return learned.alpha_gradient(value.tape, u), j


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
