"""What an objective tells a policy: its direction beside known ones, and what it listens to.

Directions are descent directions in the space of actions, `-dL/d pi` `[B, T, A]`, 0 on padding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from metagenrl.learner.objective.inputs import ObjectiveInputs
from metagenrl.learner.policy_update import ObjectiveValue
from metagenrl.learner.policy_value import PolicyEvaluation
from metagenrl.learner.returns import generalized_advantage

StepLoss = Callable[[Tensor, ObjectiveInputs], Tensor]
"""l_t `[B, T]` of `pi [B, T, A]`, differentiable twice."""


def objective_direction(value: ObjectiveValue, mask: Tensor) -> Tensor:
    """-dL/d pi: where the objective sends each action."""
    return -value.action_gradient * mask.unsqueeze(-1)


def advantage_direction(evaluation: PolicyEvaluation, gamma: float, gae_lambda: float) -> Tensor:
    """(a - pi) A with GAE from the critic's values (Eq. 3): what REINFORCE follows (section 9)."""
    batch = evaluation.batch
    advantage = generalized_advantage(
        batch.rewards, evaluation.v, evaluation.v_next, batch.terminated, batch.mask, gamma,
        gae_lambda,
    )  # fmt: skip
    return (batch.actions - evaluation.pi) * (advantage * batch.mask).unsqueeze(-1)


def critic_direction(evaluation: PolicyEvaluation) -> Tensor:
    """dQ_theta1 / da at pi(s): what DDPG and TD3 follow (section 9)."""
    return evaluation.action_value_gradient * evaluation.batch.mask.unsqueeze(-1)


def in_parameters(evaluation: PolicyEvaluation, direction: Tensor) -> Tensor:
    """sum_t (d pi_t / d phi)^T direction_t: the step in the policy's parameters, flat `[P_phi]`."""
    layout = evaluation.nets.policy.layout
    flat = torch.zeros(1, layout.size)
    evaluation.policy_gradient(direction, layout.views(flat))
    return flat.view(-1)


def cosine(x: Tensor, y: Tensor) -> float:
    """Of two directions as one vector each; NaN where one of them is zero."""
    norms = float(x.norm() * y.norm())
    return float((x * y).sum()) / norms if norms > 0 else float("nan")


@dataclass(frozen=True)
class Influence:
    """By how much dL/d pi changes with its inputs, relative to its own size.

    One standard deviation of an input at one step moves the whole gradient by so many times the
    root mean square of a step's gradient, to first order.
    """

    features: Tensor  # [F], columns of `ObjectiveInputs.features`
    actions: Tensor  # [], of the taken action, all dimensions together


def influence(
    loss: StepLoss, pi: Tensor, inputs: ObjectiveInputs, generator: torch.Generator, probes: int = 4
) -> Influence:
    """The sensitivity of dL/d pi `[B, T, A]` to every input, over all pairs of steps.

    |v^T J|^2 has the expectation |J|^2 (Frobenius) for signs v (Hutchinson), so the Jacobian J
    itself is never formed; `probes` draws of v are averaged.
    """
    gradient, features, actions = _graph(loss, pi, inputs)
    squares = [torch.zeros_like(features), torch.zeros_like(actions)]
    for _ in range(probes):
        signs = _signs(gradient, generator)
        grads = _adjoint(gradient, signs, features, actions)
        squares = [s + g.square() / probes for s, g in zip(squares, grads, strict=True)]
    count, mask = inputs.mask.sum(), inputs.mask.unsqueeze(-1)
    size = _size(gradient, inputs.mask)
    feature_square = (squares[0] * mask).sum((0, 1)) / count  # [F]
    action_square = (squares[1] * mask).sum() / count
    return Influence(
        feature_square.sqrt() * _spread(inputs.features, inputs.mask) / size,
        action_square.sqrt() * _spread(inputs.actions, inputs.mask).square().mean().sqrt() / size,
    )


def reach(
    loss: StepLoss, pi: Tensor, inputs: ObjectiveInputs, step: int, generator: torch.Generator
) -> Tensor:
    """How much the inputs at each step matter to dL/d pi at `step`: `[T, F + 1]`, actions last.

    In the units of `Influence`.
    """
    gradient, features, actions = _graph(loss, pi, inputs)
    signs = torch.zeros_like(gradient)
    signs[:, step] = _signs(gradient[:, step], generator)
    grads = _adjoint(gradient, signs, features, actions)
    mask = inputs.mask * inputs.mask[:, step : step + 1]  # [B, T]
    count = mask.sum(0).clamp(min=1).unsqueeze(-1)  # [T, 1]
    squares = torch.cat([grads[0].square(), grads[1].square().sum(-1, keepdim=True)], -1)
    spread = torch.cat(
        [
            _spread(inputs.features, inputs.mask),
            _spread(inputs.actions, inputs.mask).square().mean().sqrt().view(1),
        ]
    )
    rms = ((squares * mask.unsqueeze(-1)).sum(0) / count).sqrt()  # [T, F + 1]
    return rms * spread / _size(gradient, inputs.mask)


def pull(direction: Tensor, pi: Tensor, actions: Tensor, mask: Tensor) -> float:
    """Mean strength with which `direction` leads from pi to the taken action, `[N, A], [N]`.

    Its component along (a - pi) / |a - pi|; negative: away from it.
    """
    away = actions - pi
    along = (direction * away).sum(-1) / away.norm(dim=-1).clamp(min=1e-6)
    return float((along * mask).sum() / mask.sum().clamp(min=1))


def with_feature(inputs: ObjectiveInputs, column: int, step: int, value: float) -> ObjectiveInputs:
    """The inputs with one feature set at one step of every segment."""
    features = inputs.features.clone()
    features[:, step, column] = value
    return replace(inputs, features=features)


def with_action(inputs: ObjectiveInputs, step: int, actions: Tensor) -> ObjectiveInputs:
    """The inputs with other actions `[B, A]` taken at one step."""
    changed = inputs.actions.clone()
    changed[:, step] = actions
    return replace(inputs, actions=changed)


def _graph(loss: StepLoss, pi: Tensor, inputs: ObjectiveInputs) -> tuple[Tensor, Tensor, Tensor]:
    """dL/d pi as a function of features and actions."""
    with torch.enable_grad():
        free = pi.detach().clone().requires_grad_(True)
        features = inputs.features.detach().clone().requires_grad_(True)
        actions = inputs.actions.detach().clone().requires_grad_(True)
        total = loss(free, replace(inputs, features=features, actions=actions)).sum()
        (gradient,) = torch.autograd.grad(total, free, create_graph=True)
    return gradient, features, actions


def _adjoint(
    gradient: Tensor, signs: Tensor, features: Tensor, actions: Tensor
) -> tuple[Tensor, Tensor]:
    first, second = torch.autograd.grad(
        gradient, (features, actions), signs, retain_graph=True, allow_unused=True
    )
    return (
        torch.zeros_like(features) if first is None else first,
        torch.zeros_like(actions) if second is None else second,
    )


def _signs(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randint(0, 2, like.shape, generator=generator).to(like.dtype) * 2 - 1


def _size(gradient: Tensor, mask: Tensor) -> Tensor:
    """Root mean square of a step's gradient."""
    return ((gradient.detach().square().sum(-1) * mask).sum() / mask.sum()).sqrt().clamp(min=1e-30)


def _spread(values: Tensor, mask: Tensor) -> Tensor:
    """Standard deviation of each column over the valid entries."""
    weights = mask.unsqueeze(-1) / mask.sum()
    mean = (values * weights).sum((0, 1))
    return ((values - mean).square() * weights).sum((0, 1)).sqrt()
