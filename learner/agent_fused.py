"""An agent's updates in one C call each, for networks that run fused: `kernels_agent.h`.

The same functions in plain steps are in `critic_loss.py`, `evaluation.py` and `meta_gradient.py`,
which hand over to these where `takes` says so.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from metagenrl.learner import kernels, mlp
from metagenrl.learner.mlp import Views
from metagenrl.learner.mlp_fused import FusedTape, flat, shape_of
from metagenrl.learner.networks import AgentNetworks
from metagenrl.learner.types import Batch
from torch import Tensor


class Sizes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in [*"BTOAHLE", "stride"]]


def _rows(batch: Batch) -> Sizes:
    """What is known of a minibatch alone."""
    return Sizes(*batch.rewards.shape, batch.observations.shape[-1], batch.actions.shape[-1])


def takes(nets: AgentNetworks, phi: Views) -> bool:
    """Whether both networks run fused."""
    alike = nets.policy.hidden_layers == nets.critic.hidden_layers
    return alike and mlp.fused(nets.policy, phi) and mlp.fused(nets.critic, phi)


def _sizes(nets: AgentNetworks, batch: Batch, theta: Views) -> tuple[Sizes, Tensor, Tensor]:
    """Sizes, the critics' flat parameters and scratch."""
    first, stride = flat(nets.critic, theta)
    sizes = Sizes(
        *batch.rewards.shape, nets.policy.inputs, nets.policy.outputs, nets.policy.hidden_units,
        nets.policy.hidden_layers, first.shape[0], stride,
    )  # fmt: skip
    return sizes, first, kernels.scratch(first, "agent_room", sizes)[0]


def td_target(
    nets: AgentNetworks,
    phi_target: Views,
    theta_target: Views,
    batch: Batch,
    noise: Tensor,
    gamma: float,
) -> Tensor:
    """See `critic_loss.td_target`."""
    sizes, theta, scratch = _sizes(nets, batch, theta_target)
    y = torch.empty_like(batch.rewards)
    phi, _ = flat(nets.policy, phi_target)
    kernels.call(
        "td_target", y.dtype, sizes, phi, theta, batch.observations, batch.rewards,
        batch.terminated, noise, (ctypes.c_double * 1)(gamma), y, scratch,
    )  # fmt: skip
    return y


def td_gradient(
    nets: AgentNetworks, theta: Views, batch: Batch, y: Tensor, grads: Views
) -> tuple[Tensor, Tensor]:
    """See `critic_loss.td_gradient`."""
    sizes, parameters, scratch = _sizes(nets, batch, theta)
    target, _ = flat(nets.critic, grads)
    seen = y.new_empty(2)
    kernels.call(
        "td_gradient", y.dtype, sizes, parameters, batch.observations, batch.actions, batch.mask,
        y, target, seen, scratch,
    )  # fmt: skip
    return seen[0], seen[1]


@dataclass(frozen=True)
class Evaluated:
    """What `PolicyEvaluation` holds."""

    pi: Tensor  # [B, T, A]
    v: Tensor  # [B, T]
    v_next: Tensor  # [B, T]
    states: Tensor  # [1, B T, O]
    policy_tape: FusedTape


def evaluate(nets: AgentNetworks, phi: Views, theta1: Views, batch: Batch) -> Evaluated:
    """See `PolicyEvaluation`; `theta1` is the first critic."""
    sizes, theta, scratch = _sizes(nets, batch, theta1)
    first, stride = flat(nets.policy, phi)
    n, net = sizes.B * sizes.T, nets.policy
    states = theta.new_empty(1, n, net.inputs)
    z = theta.new_empty(net.hidden_layers, 1, n, net.hidden_units)
    stats = theta.new_empty(net.hidden_layers, 1, n, 2)
    pi, values = torch.empty_like(batch.actions), batch.rewards.new_empty(2, *batch.rewards.shape)
    kernels.call(
        "evaluate", theta.dtype, sizes, first, theta, batch.observations, states, z, stats, pi,
        values[0], values[1], scratch,
    )  # fmt: skip
    tape = FusedTape(states, z, stats, shape_of(net, 1, states, stride))
    return Evaluated(pi, values[0], values[1], states, tape)


def value_gradient(
    nets: AgentNetworks, phi: Tensor, theta1: Views, own: Batch, held_out: Batch
) -> tuple[Tensor, Tensor]:
    """See `meta_gradient.value_gradient`; `theta1` is the first critic."""
    sizes, theta, scratch = _sizes(nets, own, theta1)
    value, gradient = phi.new_empty(1), torch.empty_like(phi)
    kernels.call(
        "value_gradient", phi.dtype, sizes, phi, theta, own.observations, own.mask,
        held_out.observations, held_out.mask, value, gradient, scratch,
    )  # fmt: skip
    return value[0], gradient


def through_tanh(
    action_gradient: Tensor, pi: Tensor, batch: Batch, penalty: float, free: float, bound: float
) -> Tensor:
    """The adjoint of the policy's output, `[B, T, A]`; see `PolicyEvaluation.policy_gradient`.

    `free` is the range of pre-activations without a penalty, `bound` the largest action taken
    for what it is.
    """
    dy, numbers = torch.empty_like(pi), (ctypes.c_double * 3)(penalty, free, bound)
    kernels.call(
        "through_tanh", pi.dtype, _rows(batch), action_gradient.contiguous(), pi,
        batch.mask.contiguous(), numbers, dy,
    )  # fmt: skip
    return dy


def tanh_tangent(pi: Tensor, batch: Batch, tangent: Tensor) -> None:
    """Turn the tangent of the policy's output into that of its action."""
    mask = batch.mask.contiguous()
    kernels.call("tanh_tangent", pi.dtype, _rows(batch), pi, mask, tangent)
