"""Generalised advantage estimation (Eq. 3); the return of Eq. 2 is what it estimates."""

from __future__ import annotations

import torch
from torch import Tensor


def generalized_advantage(
    rewards: Tensor,
    v: Tensor,
    v_next: Tensor,
    terminated: Tensor,
    mask: Tensor,
    gamma: float,
    gae_lambda: float,
) -> Tensor:
    """A_t = delta_t + gamma lambda A_{t+1}, delta_t = r_t + gamma (1 - d_t) V_{t+1} - V_t (Eq. 3).

    All `[..., B, T]`. `v_next[..., t]` is the value of the state that step t led to, so a segment
    that a time limit ended still bootstraps; `terminated` stops it. Invalid steps give 0.
    """
    delta = rewards + gamma * (1 - terminated) * v_next - v
    advantage = torch.zeros_like(v[..., 0])
    advantages = torch.zeros_like(rewards)
    for t in reversed(range(rewards.shape[1])):
        advantage = mask[..., t] * (delta[..., t] + gamma * gae_lambda * advantage)
        advantages[..., t] = advantage
    return advantages
