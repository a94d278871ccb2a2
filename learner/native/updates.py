"""An agent's updates in one C call each, for small networks: `critic_and_value.h`.

The same functions in plain steps are in `critic.py` and `policy_value.py`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metagenrl.base.checks import require
from metagenrl.learner.adam import Adam
from metagenrl.learner.native import library
from metagenrl.learner.native.mlp_small import FusedTape, flat, shape_of
from metagenrl.learner.networks.agent_networks import AgentNetworks
from metagenrl.learner.networks.mlp import Views
from metagenrl.learner.types import Batch


class Sizes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in [*"BTOAHLE", "stride"]]


def _rows(batch: Batch) -> Sizes:
    """The sizes of a minibatch alone."""
    return Sizes(*batch.rewards.shape, batch.observations.shape[-1], batch.actions.shape[-1])


def sizes_of(nets: AgentNetworks, segments: int, steps: int) -> Sizes:
    """For flat parameters, `[1, P]` and `[E, P]`."""
    return Sizes(
        segments, steps, nets.policy.inputs, nets.policy.outputs, nets.policy.hidden_units,
        nets.policy.hidden_layers, nets.critics, nets.critic.layout.size,
    )  # fmt: skip


def _sizes(nets: AgentNetworks, batch: Batch, theta: Views) -> tuple[Sizes, Tensor, Tensor]:
    """Sizes, the critics' flat parameters and scratch."""
    first, stride = flat(nets.critic, theta)
    sizes = Sizes(
        *batch.rewards.shape, nets.policy.inputs, nets.policy.outputs, nets.policy.hidden_units,
        nets.policy.hidden_layers, theta["w0"].shape[0], stride,
    )  # fmt: skip
    return sizes, first, library.scratch(first, "agent_room", sizes)[0]


class Critics(ctypes.Structure):
    """`critics` of `critic_and_value.h`."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("phi_target", "theta_target")),
        *((name, ctypes.c_void_p) for name in ("theta", "gradient", "m", "v")),
        *((name, ctypes.c_void_p) for name in ("observations", "actions", "rewards")),
        *((name, ctypes.c_void_p) for name in ("terminated", "mask", "noise")),
        ("gamma", ctypes.c_double),
        ("rates", ctypes.c_double * 5),
    ]


@dataclass(frozen=True, eq=False)
class CriticState:
    """The tensors that an update of one agent's critics reads and writes, beside a minibatch."""

    phi_target: Tensor  # [1, P]
    theta_target: Tensor  # [E, P]
    gradient: Tensor  # [E, P]
    adam: Adam  # of theta [E, P]


def update_critics(
    nets: AgentNetworks,
    agents: Sequence[CriticState],
    batches: Sequence[Batch],
    noise: Sequence[Tensor],
    gamma: float,
) -> Tensor:
    """A step on the TD loss (Eq. 5) of K agents: TD loss and mean Q_theta1, `[K, 2]`.

    `noise`, for each agent `[B, T, A]`, is added to its target policy's actions. What
    `critic.td_target`, `critic.td_gradient` and `Adam.step` do for one agent after the other.
    """
    sizes, dtype = sizes_of(nets, *batches[0].rewards.shape), noise[0].dtype
    critics = [
        Critics(
            *library.addresses(
                "update_critics", dtype, agent.phi_target, agent.theta_target,
                agent.adam.parameters, agent.gradient, agent.adam.m, agent.adam.v,
                batch.observations, batch.actions, batch.rewards, batch.terminated, batch.mask, own,
            ),
            gamma,
            agent.adam.advance(),
        )
        for agent, batch, own in zip(agents, batches, noise, strict=True)
    ]  # fmt: skip
    seen = noise[0].new_empty(len(agents), 2)
    scratch = library.scratch(noise[0], "agent_room", sizes)[0]
    table = (Critics * len(critics))(*critics)
    library.call("update_critics", dtype, sizes, len(critics), table, seen, scratch)
    return seen


def act(nets: AgentNetworks, policies: Sequence[Tensor], observations: Tensor) -> Tensor:
    """pi_phi(s) of K policies `[1, P]` for an observation each, `[K, O]`: `[K, A]`.

    Raises `ValueError` for observations of another size, of which C would read what is not there.
    """
    given, wanted = tuple(observations.shape), (len(policies), nets.policy.inputs)
    require(given == wanted, "observations", given, f"shape {wanted}")
    sizes, dtype = sizes_of(nets, 1, 1), observations.dtype
    actions = observations.new_empty(len(policies), nets.policy.outputs)
    addresses = (ctypes.c_void_p * len(policies))(*library.addresses("act", dtype, *policies))
    scratch = library.scratch(observations, "agent_room", sizes)[0]
    library.call("act", dtype, sizes, len(policies), addresses, observations, actions, scratch)
    return actions


@dataclass(frozen=True)
class Evaluated:
    """The values of a `PolicyEvaluation`."""

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
    library.call(
        "evaluate", theta.dtype, sizes, first, theta, batch.observations, states, z, stats, pi,
        values[0], values[1], scratch,
    )  # fmt: skip
    tape = FusedTape(states, z, stats, shape_of(net, 1, states, stride))
    return Evaluated(pi, values[0], values[1], states, tape)


def value_gradient(
    nets: AgentNetworks, phi: Tensor, theta1: Views, own: Batch, held_out: Batch
) -> tuple[Tensor, Tensor]:
    """See `policy_value.value_gradient`; `theta1` is the first critic."""
    sizes, theta, scratch = _sizes(nets, own, theta1)
    value, gradient = phi.new_empty(1), torch.empty_like(phi)
    library.call(
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
    library.call(
        "through_tanh", pi.dtype, _rows(batch), action_gradient.contiguous(), pi,
        batch.mask.contiguous(), numbers, dy,
    )  # fmt: skip
    return dy


def tanh_tangent(pi: Tensor, batch: Batch, tangent: Tensor) -> None:
    """Turn the tangent of the policy's output into that of its action."""
    mask = batch.mask.contiguous()
    library.call("tanh_tangent", pi.dtype, _rows(batch), pi, mask, tangent)
