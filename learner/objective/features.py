"""What the learned objective sees besides the actions: each input's name, value and normalisation.

Section 3 in plain torch, which can be mapped over agents.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metagenrl.learner.hyperparams import ObjectiveConfig
from metagenrl.learner.types import Batch

VARIANCE_FLOOR = 1e-8
SQUARE_FLOOR = 1e-16
"""Of the mean square of dQ/da: below it the critic says nothing of the actions."""
ROUNDING = 1e-6
"""Below this variance, or this fraction of the mean (float32's rounding), an input counts as
constant: its z-score is 0, not noise blown up."""


def feature_names(config: ObjectiveConfig) -> list[str]:
    """The columns of `ObjectiveInputs.features` in words: 4 in the paper's architecture."""
    names = ["reward"]
    names += ["time"] if config.use_time else []
    if config.use_value:
        following = "TD error" if config.normalization == "td" else "V(t+1)"
        names += [following, "V(t)"] if config.use_next_value else ["V(t)"]
        names += ["advantage"] if config.use_advantage else []
    return names


def feature_count(config: ObjectiveConfig) -> int:
    """Columns of `ObjectiveInputs.features`."""
    return len(feature_names(config))


def _moments(mask: Tensor, *parts: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance over the valid entries of all `parts` together."""
    count = mask.sum().clamp(min=1) * len(parts)
    mean = torch.stack([(mask * x).sum() for x in parts]).sum() / count
    squares = torch.stack([(mask * (x - mean).square()).sum() for x in parts]).sum()
    return mean, squares / count


def _inverse_std(variance: Tensor, mean: Tensor) -> Tensor:
    """1 / std, and 0 for a constant."""
    floor = VARIANCE_FLOOR + (ROUNDING * mean).square()
    return torch.where(variance > floor, variance.clamp(min=VARIANCE_FLOOR).rsqrt(), 0.0)


def normalize_rewards(rewards: Tensor, mask: Tensor) -> Tensor:
    """z-score over the valid entries (the paper's inputs). A constant reward becomes 0."""
    mean, variance = _moments(mask, rewards)
    return (rewards - mean) * _inverse_std(variance, mean) * mask


def normalize_values(
    v: Tensor, v_next: Tensor, terminated: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """z-score of V_t and V_{t+1} together; V_{t+1} is then multiplied by 1 - terminated."""
    mean, variance = _moments(mask, v, v_next)
    scale = _inverse_std(variance, mean) * mask
    return (v - mean) * scale, (v_next - mean) * scale * (1 - terminated)


def normalize_together(
    rewards: Tensor, v: Tensor, v_next: Tensor, terminated: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Reward, V_t and V_{t+1} on one scale, so that temporal differences keep their meaning.

    (r / s, (V_t - m) / s, ((1 - d_t) V_{t+1} - m) / s) with m the mean of the values and
    s^2 = var(values) + mean(r^2): r + gamma V_{t+1} - V_t can be read off, up to the scale s and an
    offset m (1 - gamma) / s, a constant reward stays visible, and a terminal state is worth 0 and
    not the average. Our addition: separate z-scores lose the ratio of reward to value.
    """
    v_next = v_next * (1 - terminated)
    mean, variance = _moments(mask, v, v_next)
    mean_square = (mask * rewards.square()).sum() / mask.sum().clamp(min=1)
    scale = _inverse_std(variance + mean_square, mean) * mask
    return rewards * scale, (v - mean) * scale, (v_next - mean) * scale


def normalize_difference(
    rewards: Tensor, v: Tensor, v_next: Tensor, terminated: Tensor, mask: Tensor, discount: float
) -> Tensor:
    """delta_t = r_t + gamma (1 - d_t) V_{t+1} - V_t over its root mean square, not centred.

    Fed in the place of V_{t+1}, it says the same in better conditioned numbers: delta is a small
    difference of large values, which z-scores of a single one make invisible (on Pendulum-v1 it is
    a hundredth of their spread), and its sign is what a policy needs. Our addition.
    """
    delta = mask * (rewards + discount * (1 - terminated) * v_next - v)
    mean_square = delta.square().sum() / mask.sum().clamp(min=1)
    return delta * _inverse_std(mean_square, (mask * v).sum() / mask.sum().clamp(min=1))


def normalize_direction(gradient: Tensor, mask: Tensor) -> Tensor:
    """dQ/da over its root mean square on the minibatch: `[..., B, T, A]`, 0 on padding."""
    gradient = gradient * mask.unsqueeze(-1)
    entries = mask.sum((-2, -1)).clamp(min=1)[..., None, None, None] * gradient.shape[-1]
    square = gradient.square().sum((-3, -2, -1), keepdim=True) / entries
    return gradient * torch.where(
        square > SQUARE_FLOOR, square.clamp(min=SQUARE_FLOOR).rsqrt(), 0.0
    )


def normalize_advantage(q: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """A_t = Q(s_t, a_t) - V_t over its root mean square, not centred: its sign is what matters.

    How good the taken action was, in the critic's eyes: the difference of two values of one state,
    where delta_t has the errors of a reward and of another state on top. Our addition.
    """
    advantage = mask * (q - v)
    count = mask.sum().clamp(min=1)
    return advantage * _inverse_std(advantage.square().sum() / count, (mask * v).sum() / count)


def _normalized(
    config: ObjectiveConfig, batch: Batch, v: Tensor | None, v_next: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Reward, V_t and V_{t+1} (or the temporal difference) as the objective sees them."""
    if not config.use_value or v is None or v_next is None:
        return normalize_rewards(batch.rewards, batch.mask), None, None
    v, v_next = v.detach(), v_next.detach()
    if config.normalization == "joint":
        return normalize_together(batch.rewards, v, v_next, batch.terminated, batch.mask)
    now, following = normalize_values(v, v_next, batch.terminated, batch.mask)
    if config.normalization == "td":
        following = normalize_difference(
            batch.rewards, v, v_next, batch.terminated, batch.mask, config.td_discount
        )
    return normalize_rewards(batch.rewards, batch.mask), now, following


def input_features(
    config: ObjectiveConfig,
    batch: Batch,
    v: Tensor | None = None,
    v_next: Tensor | None = None,
    q: Tensor | None = None,
) -> Tensor:
    """`ObjectiveInputs.features` of one minibatch: `[B, T, F]`; values `[B, T]`."""
    mask, steps = batch.mask, batch.mask.shape[1]
    rewards, now, following = _normalized(config, batch, v, v_next)
    columns = [rewards]
    if config.use_time:
        time = torch.arange(steps, dtype=mask.dtype, device=mask.device) / max(steps - 1, 1)
        columns.append(time.expand_as(mask))
    if now is not None and following is not None:
        columns += [following, now] if config.use_next_value else [now]
    if config.use_advantage and v is not None and q is not None:
        columns.append(normalize_advantage(q.detach(), v.detach(), mask))
    return torch.stack(columns, -1)
