"""Actions drawn around the policy, for an objective that is shown these in the place of the taken.

The replay buffer's actions are those of earlier policies. How good one of them is says little of
how to change the present policy, the less the older it is; the critic can be asked about any other
action as well. Our addition (section 12).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from metagenrl.learner.critic import smoothing_noise
from metagenrl.learner.networks import mlp
from metagenrl.learner.networks.agent_networks import AgentNetworks
from metagenrl.learner.networks.mlp import Views
from metagenrl.learner.stacked_evaluation import batch_of, rows_of
from metagenrl.learner.types import Batch


def resampling_noise(
    std: float, shape: tuple[int, ...], generator: torch.Generator
) -> Tensor | None:
    """epsilon ~ N(0, std^2) of one agent, `shape`; None, and nothing is drawn, where `std` is 0."""
    return smoothing_noise(shape, std, math.inf, [generator])[0] if std else None


def resampled(
    nets: AgentNetworks, phi: Views, batches: Sequence[Batch], noise: Tensor, pi: Tensor
) -> tuple[Batch, ...]:
    """K agents' minibatches with clip(pi_phi(s_t) + epsilon, -1, 1) as actions, 0 on padding.

    `phi` are views of `[K, P]`; `noise [K, n B, T, A]` is that of the first n of the `batches`, one
    after the other, and `pi [K, B, T, A]` is known for the first. The rest, held out, stay as they
    are: nobody looks at their actions.
    """
    own, *later = noise.split(pi.shape[1], 1)
    found = [shown(batches[0], pi, own)]
    for batch, part in zip(batches[1:], later, strict=False):
        pre = mlp.evaluate(nets.policy, phi, rows_of(batch.observations[:, :, :-1]))
        found.append(shown(batch, pre.tanh().view(part.shape), part))
    return (*found, *batches[len(found) :])


def resampled_alone(
    nets: AgentNetworks, phi: Views, batches: Sequence[Batch], noise: Tensor, pi: Tensor
) -> tuple[Batch, ...]:
    """`resampled` of one agent: `noise [n B, T, A]`, `pi` and minibatches without an axis K."""
    alone = [batch.alone for batch in batches]
    found = resampled(nets, phi, alone, noise.unsqueeze(0), pi.unsqueeze(0))
    return tuple(batch_of(batch, 0) for batch in found)


def shown(batch: Batch, pi: Tensor, noise: Tensor) -> Batch:
    """The minibatch with clip(pi + epsilon, -1, 1) as actions; `[..., B, T, A]` both."""
    return replace(batch, actions=(pi + noise).clamp(-1, 1) * batch.mask.unsqueeze(-1))
