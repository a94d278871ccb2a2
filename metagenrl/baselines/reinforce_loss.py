"""REINFORCE with a Gaussian policy (Williams 1992; Eq. 3): its log-likelihood and its loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_LOG_ROOT_2PI = 0.5 * math.log(2 * math.pi)


def gaussian_log_prob(mean: Tensor, log_std: Tensor, actions: Tensor) -> Tensor:
    """log N(a; mean, diag(exp(log_std)^2)): `[..., A], [A], [..., A] -> [...]`."""
    z = (actions - mean) * torch.exp(-log_std)
    return (-0.5 * z.square() - log_std - _LOG_ROOT_2PI).sum(-1)


def reinforce_loss(log_prob: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
    """-mean_t log pi(a_t | s_t) A_t over valid steps (Eq. 3): all `[B, T]`, the advantage constant.

    Its gradient by the policy's parameters is minus the policy gradient, per step.
    """
    return -(log_prob * advantage.detach() * mask).sum() / mask.sum()


def standardized(advantage: Tensor, mask: Tensor) -> Tensor:
    """Zero mean and unit variance over the valid entries: `[B, T]`, 0 on padding."""
    count = mask.sum()
    mean = (advantage * mask).sum() / count
    centred = (advantage - mean) * mask
    return centred / (centred.square().sum() / count).sqrt().clamp(min=1e-8)
