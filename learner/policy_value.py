"""A policy and its critic evaluated on one minibatch, each quantity computed once and shared.

The policy update, the objective's inputs and the meta-gradient all need pi_phi(s), Q_theta1(s,
pi_phi(s)) and their derivatives at the same minibatch; this holds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from metagenrl.learner.networks import mlp
from metagenrl.learner.networks.agent_networks import AgentNetworks, apply_critic, apply_policy
from metagenrl.learner.networks.mlp import Tape, Views
from metagenrl.learner.types import Batch

FREE_RANGE = 1.5  # of the pre-activation: actions up to tanh(1.5) = 0.905 cost nothing
ATANH_BOUND = 1 - 1e-6  # float32's tanh rounds to 1 soon after, and atanh(1) is infinite


def member(theta: Views, index: int) -> Views:
    """One member of an ensemble, still with a leading dimension (of size 1)."""
    return {name: view[index : index + 1] for name, view in theta.items()}


class PlainEvaluation:
    """`PolicyEvaluation`'s values by plain torch, without gradient: the definition."""

    def __init__(self, nets: AgentNetworks, phi: Views, theta: Views, batch: Batch) -> None:
        self.nets, self.phi, self.batch = nets, phi, batch
        self.theta1 = member(theta, 0)

    @cached_property
    def _values(self) -> Tensor:
        """V of all states, `[B, T + 1]`."""
        with torch.no_grad():
            s = self.batch.observations
            a = apply_policy(self.nets.policy, self.phi, s)
            return apply_critic(self.nets.critic, self.theta1, s, a)[0]

    @property
    def v(self) -> Tensor:
        """V_t `[B, T]`."""
        return self._values[:, :-1]

    @property
    def v_next(self) -> Tensor:
        """V_{t+1} `[B, T]`."""
        return self._values[:, 1:]

    @property
    def action_value_gradient(self) -> Tensor:
        """dQ_theta1 / da at pi(s_t): `[B, T, A]`."""
        s = self.batch.observations[:, :-1]
        with torch.enable_grad():
            a = apply_policy(self.nets.policy, self.phi, s).detach().requires_grad_()
            value = apply_critic(self.nets.critic, self.theta1, s, a).sum()
            (gradient,) = torch.autograd.grad(value, a)
        return gradient

    def value_of(self, actions: Tensor) -> Tensor:
        """Q_theta1(s_t, a_t) of any actions: `[B, T, A] -> [B, T]`."""
        with torch.no_grad():
            s = self.batch.observations[:, :-1]
            return apply_critic(self.nets.critic, self.theta1, s, actions)[0]


class PolicyEvaluation:
    """pi_phi(s_t), V_t = Q_theta1(s_t, pi_phi(s_t)), V_{t+1} and dQ/da on a minibatch.

    Values follow section 3: no gradient flows through them. `phi` has a leading dimension of 1,
    `theta` is the whole ensemble, of which the first member is used.
    """

    def __init__(self, nets: AgentNetworks, phi: Views, theta: Views, batch: Batch) -> None:
        self.nets, self.phi, self.batch = nets, phi, batch
        self.theta1 = member(theta, 0)
        self._evaluate()

    def _evaluate(self) -> None:
        b, t, a = self.batch.actions.shape
        self.states = self.batch.observations[:, :-1].reshape(1, b * t, -1)
        self.policy_tape: Tape
        pre, self.policy_tape = mlp.forward(self.nets.policy, self.phi, self.states)
        self.pi = pre.tanh_().view(b, t, a)

    @cached_property
    def _critic(self) -> tuple[Tensor, Tape]:
        rows = torch.cat([self.states, self.pi.view(1, self.states.shape[1], -1)], -1)
        return mlp.forward(self.nets.critic, self.theta1, rows)

    @property
    def v(self) -> Tensor:
        """V_t `[B, T]`."""
        return self._critic[0].view(self.pi.shape[:2])

    @cached_property
    def v_next(self) -> Tensor:
        """V_{t+1} `[B, T]`: the next row's V, and for the segment's last row its own evaluation.

        The row after a short segment's last valid step holds the state that step led to, so only
        full segments need the extra state.
        """
        s = self.batch.observations[:, -1].unsqueeze(0)
        a = mlp.evaluate(self.nets.policy, self.phi, s).tanh_()
        boot = mlp.evaluate(self.nets.critic, self.theta1, torch.cat([s, a], -1))
        return torch.cat([self.v[:, 1:], boot.view(-1, 1)], 1)

    @cached_property
    def action_value_gradient(self) -> Tensor:
        """dQ_theta1 / da at pi(s_t): `[B, T, A]`."""
        out, tape = self._critic
        dx = mlp.backward(self.nets.critic, self.theta1, tape, torch.ones_like(out), None, True)
        assert dx is not None
        return dx[..., -self.pi.shape[-1] :].reshape(self.pi.shape)

    def value_of(self, actions: Tensor) -> Tensor:
        """Q_theta1(s_t, a_t) of any actions: `[B, T, A] -> [B, T]`."""
        rows = torch.cat([self.states, actions.reshape(1, -1, actions.shape[-1])], -1)
        return mlp.evaluate(self.nets.critic, self.theta1, rows).view(actions.shape[:2])

    def policy_gradient(self, action_gradient: Tensor, grads: Views, penalty: float = 0.0) -> None:
        """Write sum_t (d pi_t / d phi)^T action_gradient_t to `grads`; padding counts 0.

        `penalty` > 0 adds the gradient of penalty * s * mean_A max(|x_t| - 1.5, 0)^2, where
        pi = tanh(x) and s is the root mean square of `action_gradient`, a constant. It holds where
        tanh's slope vanishes, so that no policy is stuck at the bounds; it leaves actions within
        +-0.9 alone; and it weighs the same whatever scale L_alpha has: nothing else bounds that
        scale, since both Adam and the gradient's clip ignore it.
        """
        b, t, a = self.pi.shape
        dy = self._through_tanh(action_gradient, penalty)
        mlp.backward(self.nets.policy, self.phi, self.policy_tape, dy.view(1, b * t, a), grads)

    def _through_tanh(self, action_gradient: Tensor, penalty: float) -> Tensor:
        """The adjoint of the policy's output: `[B, T, A]`."""
        mask = self.batch.mask.unsqueeze(-1)
        dy = action_gradient * (1 - self.pi.square())
        if penalty:
            x = torch.atanh(self.pi.clamp(-ATANH_BOUND, ATANH_BOUND))
            entries = self.batch.mask.sum().clamp(min=1) * self.pi.shape[-1]
            rms = ((action_gradient * mask).square().sum() / entries).sqrt()
            excess = x - x.clamp(-FREE_RANGE, FREE_RANGE)
            dy = dy + excess * rms * (2 * penalty / self.pi.shape[-1])
        return dy * mask

    def policy_tangent(self, direction: Views) -> Tensor:
        """(d pi / d phi) direction: `[B, T, A]`, 0 on padding (forward mode)."""
        tangent = mlp.parameter_tangent(self.nets.policy, self.phi, direction, self.policy_tape)
        return self._tanh_tangent(tangent.view(self.pi.shape))

    def _tanh_tangent(self, tangent: Tensor) -> Tensor:
        """The tangent of the action from that of the policy's output: `[B, T, A]`."""
        return tangent * (1 - self.pi.square()) * self.batch.mask.unsqueeze(-1)

    def policy_curvature(
        self, phi: Tensor, v: Tensor, adjoint: Tensor, curvature: Tensor
    ) -> Tensor:
        """d/d phi of <adjoint, (d pi / d phi) v> + <curvature, pi>: `[1, P]`.

        `phi [1, P]` is this policy, flat, `v [1, P]` a direction; `adjoint` and `curvature`
        `[B, T, A]` are constants.
        """
        with torch.enable_grad():
            phi = phi.detach().requires_grad_()
            views = self.nets.policy.layout.views(phi)
            pi = apply_policy(self.nets.policy, views, self.batch.observations[:, :-1])
            (slope,) = torch.autograd.grad(pi, phi, adjoint, create_graph=True)
            product = (slope * v).sum() + (pi * curvature).sum()
            (gradient,) = torch.autograd.grad(product, phi)
        return gradient

    def elsewhere(self, phi: Tensor, batch: Batch) -> Self:
        """Another policy `phi [1, P]` with the same critic, on another minibatch."""
        return type(self)(self.nets, self.nets.policy.layout.views(phi), self.theta1, batch)

    def value_gradient(self, phi: Tensor, others: Sequence[Batch]) -> tuple[Tensor, Tensor]:
        """J `[]` and d(-J)/d phi `[1, P]` of another policy `phi [1, P]`; see `value_gradient`.

        J is the mean over this minibatch and the others.
        """
        return value_gradient(self.nets, phi, self.theta1, (self.batch, *others))


def value_gradient(
    nets: AgentNetworks, phi: Tensor, theta1: Views, batches: Sequence[Batch]
) -> tuple[Tensor, Tensor]:
    """J `[]`, the mean of Q_theta1(s, pi_phi(s)) over valid steps, and d(-J)/d phi `[1, P]`."""
    nets = nets.outer
    views = nets.policy.layout.views(phi)
    s = torch.cat([x.observations[:, :-1].reshape(1, -1, nets.policy.inputs) for x in batches], 1)
    mask = torch.cat([x.mask.reshape(1, -1, 1) for x in batches], 1)
    weight = mask / mask.sum().clamp(min=1)
    pre, policy_tape = mlp.forward(nets.policy, views, s)
    a = pre.tanh_()
    q, critic_tape = mlp.forward(nets.critic, theta1, torch.cat([s, a], -1))
    dx = mlp.backward(nets.critic, theta1, critic_tape, -weight, None, True)
    assert dx is not None
    gradient = torch.empty_like(phi)
    dy = dx[..., -nets.policy.outputs :] * (1 - a.square())
    mlp.backward(nets.policy, views, policy_tape, dy, nets.policy.layout.views(gradient))
    return (q * weight).sum(), gradient
