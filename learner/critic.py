"""The critics' temporal-difference loss with TD3's tricks, of K agents (Eq. 5, section 4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from metagenrl.learner.networks import mlp
from metagenrl.learner.networks.agent_networks import AgentNetworks
from metagenrl.learner.networks.mlp import Views
from metagenrl.learner.stacked_evaluation import rows_of, valid_steps
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


def for_each_critic(rows: Tensor, critics: int) -> Tensor:
    """Every agent's rows once for each of its critics: `[K, N, I] -> [K * C, N, I]`."""
    return rows.repeat_interleave(critics, 0)


def td_target(
    nets: AgentNetworks,
    phi_target: Views,
    theta_target: Views,
    batch: Batch,
    noise: Tensor,
    gamma: float,
) -> Tensor:
    """y_t = r_t + gamma (1 - d_t) min_j Q_theta_j-(s_{t+1}, clip(pi_phi-(s_{t+1}) + eps, -1, 1)).

    `phi_target` are views of `[K, P]`, `theta_target` of `[K * C, P]`, an agent's critics one
    after the other; `noise [K, B, T, A]`; returns `[K, B, T]`. Bootstrapping stops at `terminated`
    only (Eq. 5).
    """
    nets = nets.outer
    s_next = rows_of(batch.observations[:, :, 1:])
    pre = mlp.evaluate(nets.policy, phi_target, s_next)
    a_next = (pre.tanh() + rows_of(noise)).clamp(-1, 1)
    rows = for_each_critic(torch.cat([s_next, a_next], -1), nets.critics)
    q_next = mlp.evaluate(nets.critic, theta_target, rows)
    q_target = q_next.view(len(noise), nets.critics, *batch.mask.shape[1:]).amin(1)
    return batch.rewards + gamma * (1 - batch.terminated) * q_target


def td_gradient(
    nets: AgentNetworks, theta: Views, batch: Batch, y: Tensor, grads: Views
) -> tuple[Tensor, Tensor]:
    """Each agent's loss and mean Q, `[K]` both; writes its gradient by theta into `grads`.

    The loss is the mean of (Q_theta1 - y)^2 + (Q_theta2 - y)^2 over valid steps (Eq. 5).
    """
    nets = nets.outer
    k, b, t = y.shape
    rows = torch.cat([rows_of(batch.observations[:, :, :-1]), rows_of(batch.actions)], -1)
    out, tape = mlp.forward(nets.critic, theta, for_each_critic(rows, nets.critics))
    q = out.view(k, nets.critics, b, t)
    valid = valid_steps(batch)
    weighted = (q - y.unsqueeze(1)) * batch.mask.unsqueeze(1)
    dq = weighted * (2 / valid).view(k, 1, 1, 1)
    mlp.backward(nets.critic, theta, tape, dq.view(k * nets.critics, b * t, 1), grads)
    loss = weighted.square().sum((1, 2, 3)) / valid
    return loss, (q[:, 0] * batch.mask).sum((1, 2)) / valid
