"""PPO's loss (Schulman et al. 2017, Eq. 7), which EPG mixes in while its own loss is young."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from metagenrl.learner.returns import generalized_advantage


def ppo_loss(
    log_probability: Tensor,
    old_log_probability: Tensor,
    advantages: Tensor,
    values: Tensor,
    returns: Tensor,
    divergence: Tensor,
    clip: float,
    kl_weight: float,
) -> Tensor:
    """-mean min(rho A, clip(rho, 1 +- clip) A) + kl_weight mean KL + mean (V - R)^2: `[N] -> []`.

    rho is the ratio of the action's probabilities now and at the time it was taken; advantages
    `A`, `returns` and the former policy are constants.
    """
    rho = torch.exp(log_probability - old_log_probability)
    bounded = rho.clamp(1 - clip, 1 + clip)
    surrogate = torch.minimum(rho * advantages, bounded * advantages)
    error = (values - returns).square()
    return -surrogate.mean() + kl_weight * divergence.mean() + error.mean()


def standardized(advantages: Tensor) -> Tensor:
    """Zero mean and unit variance over the batch; all zero where they are all the same."""
    centered = advantages - advantages.mean()
    spread = centered.square().mean().sqrt()
    return centered / spread.clamp(min=1e-8)


def advantages(
    rewards: Tensor,
    v: Tensor,
    v_next: Tensor,
    terminated: Tensor,
    ended: Tensor,
    gamma: float,
    gae_lambda: float,
) -> Tensor:
    """GAE (Eq. 3) over consecutive steps that may span several episodes, all `[N]`.

    `ended` marks an episode's last step, for whatever reason; `terminated` those whose next state
    is worth 0. `v_next[t]` is the value of the state that step t led to.
    """
    ends = [int(t) + 1 for t in torch.nonzero(ended)[:, 0]]
    bounds = sorted({0, *ends, len(rewards)})
    pieces = []
    for start, end in itertools.pairwise(bounds):
        r, now, after, last = (x[None, start:end] for x in (rewards, v, v_next, terminated))
        ones = torch.ones_like(r)
        pieces.append(generalized_advantage(r, now, after, last, ones, gamma, gae_lambda)[0])
    return torch.cat(pieces)
