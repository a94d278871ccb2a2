"""The critics' temporal-difference loss with TD3's tricks (Eq. 5, section 4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from metagenrl.learner.networks import mlp
from metagenrl.learner.networks.agent_networks import AgentNetworks
from metagenrl.learner.networks.mlp import Views
from metagenrl.learner.types import Batch


def smoothing_noise(
    shape: tuple[int, ...], std: float, clip: float, generators: Sequence[torch.Generator]
) -> Tensor:
    """epsilon ~ clip(N(0, std^2), -clip, clip), added to target policies' actions: `[K, *shape]`.

    Each of the K agents draws from its own generator.
    """
    noise = torch.empty(len(generators), *shape)
    for own, generator in zip(noise, generators, strict=True):
        torch.randn(shape, generator=generator, out=own)
    return noise.mul_(std).clamp_(-clip, clip)


def td_target(
    nets: AgentNetworks,
    phi_target: Views,
    theta_target: Views,
    batch: Batch,
    noise: Tensor,
    gamma: float,
) -> Tensor:
    """y_t = r_t + gamma (1 - d_t) min_j Q_theta_j-(s_{t+1}, clip(pi_phi-(s_{t+1}) + eps, -1, 1)).

    `noise [B, T, A]`; returns `[B, T]`. Bootstrapping stops at `terminated` only (Eq. 5).
    """
    nets = nets.outer
    b, t, a = batch.actions.shape
    s_next = batch.observations[:, 1:].reshape(1, b * t, -1)
    pre = mlp.evaluate(nets.policy, phi_target, s_next)
    a_next = pre.tanh_().add_(noise.reshape(1, b * t, a)).clamp_(-1, 1)
    rows = torch.cat([s_next, a_next], -1)
    q_next = mlp.evaluate(nets.critic, theta_target, rows)
    q_target = q_next.amin(0).view(b, t)
    return batch.rewards + gamma * (1 - batch.terminated) * q_target


def td_loss(q: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    """Masked mean of (Q_theta1 - y)^2 + (Q_theta2 - y)^2 (Eq. 5): `[E, B, T] -> []`."""
    return ((q - y).square() * mask).sum() / mask.sum().clamp(min=1)


def td_gradient(
    nets: AgentNetworks, theta: Views, batch: Batch, y: Tensor, grads: Views
) -> tuple[Tensor, Tensor]:
    """Loss `[]` and mean Q `[]`; writes its gradient with respect to theta into `grads`."""
    nets = nets.outer
    b, t, _ = batch.actions.shape
    s = batch.observations[:, :-1]
    rows = torch.cat([s, batch.actions], -1).reshape(1, b * t, -1)
    out, tape = mlp.forward(nets.critic, theta, rows)
    q = out.view(nets.critics, b, t)
    valid = batch.mask.sum().clamp(min=1)
    weighted = (q - y) * batch.mask
    dq = (weighted * (2 / valid)).reshape(nets.critics, b * t, 1)
    mlp.backward(nets.critic, theta, tape, dq, grads)
    return (weighted.square().sum() / valid), (q[0] * batch.mask).sum() / valid
