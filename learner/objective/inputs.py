"""What the learned objective sees besides the actions: normalised, and constant (section 3)."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from metagenrl.learner.hyperparams import ObjectiveConfig
from metagenrl.learner.native import library
from metagenrl.learner.types import Batch

VARIANCE_FLOOR = 1e-8
SQUARE_FLOOR = 1e-16
"""Of the mean square of dQ/da: below it the critic says nothing of the actions."""
ROUNDING = 1e-6
"""Below this variance, or this fraction of the mean (float32's rounding), an input counts as
constant: its z-score is 0, not noise blown up."""


@dataclass(frozen=True)
class ObjectiveInputs:
    """Constants of the objective for one minibatch; no gradient flows into them."""

    features: Tensor  # [B, T, F]: reward, then time, V_{t+1}, V_t where the variant has them
    actions: Tensor  # [B, T, A]
    observations: Tensor | None  # [B, T, O] for the variant that embeds observations
    mask: Tensor  # [B, T]
    sign: Tensor | None = None  # [B, 1, 1] of +-1 for the variant that reflects actions
    direction: Tensor | None = None  # [B, T, A], dQ/da for the variant that sees it

    def reflect(self, actions: Tensor) -> Tensor:
        """`actions [B, T, A]`, or a derivative by them, as this minibatch's signs have it."""
        return actions if self.sign is None else actions * self.sign


class Evaluated(Protocol):
    """A policy and its critic on a minibatch, as far as the objective may look at them."""

    batch: Batch

    @property
    def v(self) -> Tensor:
        """V_t `[B, T]`."""
        ...

    @property
    def v_next(self) -> Tensor:
        """V_{t+1} `[B, T]`."""
        ...

    @property
    def action_value_gradient(self) -> Tensor:
        """dQ_theta1 / da at pi(s_t): `[B, T, A]`."""
        ...

    def value_of(self, actions: Tensor) -> Tensor:
        """Q_theta1(s_t, a_t) of any actions: `[B, T, A] -> [B, T]`."""
        ...


def critic_values(config: ObjectiveConfig, evaluated: Evaluated) -> dict[str, Tensor]:
    """What the objective asks the critic for, by the name that `objective_inputs` takes it by."""
    values = {"v": evaluated.v, "v_next": evaluated.v_next} if config.use_value else {}
    if config.use_advantage:
        values["q"] = evaluated.value_of(evaluated.batch.actions)
    return values


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
    """`ObjectiveInputs.features` in plain torch, which can be mapped over agents."""
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


_NATIVE = {"reward", "time", "TD error", "V(t+1)", "V(t)"}


def native_features(config: ObjectiveConfig) -> bool:
    """Whether `objective.h` has all of the variant's features; another one needs no C."""
    return _NATIVE.issuperset(feature_names(config))


_SCHEMES = ("zscore", "joint", "td")  # their numbers in objective.h


class FeatureSizes(ctypes.Structure):
    """`features` of `objective.h`."""

    _fields_ = [
        *((name, ctypes.c_long) for name in ("B", "T", "time", "value", "next", "scheme")),
        ("discount", ctypes.c_double),
    ]


def feature_sizes(config: ObjectiveConfig, segments: int, steps: int) -> FeatureSizes:
    """A minibatch's sizes and which inputs the variant has."""
    value = config.use_value
    return FeatureSizes(
        segments, steps, config.use_time, value, value and config.use_next_value,
        _SCHEMES.index(config.normalization), config.td_discount,
    )  # fmt: skip


def _fused_features(
    config: ObjectiveConfig, batch: Batch, v: Tensor | None, v_next: Tensor | None
) -> Tensor:
    """`input_features` in one C call."""
    mask, how = batch.mask, feature_sizes(config, *batch.mask.shape)
    features = mask.new_empty(*mask.shape, feature_count(config))
    used = config.use_value
    values = (x.contiguous() if used and x is not None else None for x in (v, v_next))
    library.call(
        "objective_features", mask.dtype, how, batch.rewards.contiguous(), *values,
        batch.terminated.contiguous(), mask.contiguous(), features, torch.empty_like(mask),
    )  # fmt: skip
    return features


def inputs_on(config: ObjectiveConfig, evaluated: Evaluated) -> ObjectiveInputs:
    """What the objective sees of an evaluated minibatch; only what it uses is computed."""
    values = critic_values(config, evaluated)
    direction = critic_direction(config, evaluated)
    return objective_inputs(config, evaluated.batch, **values, direction=direction)


def critic_direction(config: ObjectiveConfig, evaluated: Evaluated) -> Tensor | None:
    """dQ/da as the objective sees it, `[B, T, A]`; None for the variant that does not."""
    if not config.use_critic_direction:
        return None
    return normalize_direction(evaluated.action_value_gradient.detach(), evaluated.batch.mask)


def objective_inputs(
    config: ObjectiveConfig,
    batch: Batch,
    v: Tensor | None = None,
    v_next: Tensor | None = None,
    q: Tensor | None = None,
    direction: Tensor | None = None,
) -> ObjectiveInputs:
    """The table of section 3 for one minibatch; values `[B, T]`, None where not used.

    `v`, `v_next`: V_t and V_{t+1}; `q`: Q_theta1(s_t, a_t) of the taken actions; `direction`:
    dQ/da at pi(s_t), normalised, `[B, T, A]`.
    """
    mask = batch.mask
    if config.use_value and (v is None or v_next is None):
        raise ValueError("values: got None, allowed: tensors [B, T] (the objective uses V)")
    if config.use_advantage and q is None:
        raise ValueError("q: got None, allowed: a tensor [B, T] (the objective uses the advantage)")
    if library.usable(mask) and native_features(config):
        features = _fused_features(config, batch, v, v_next)
    else:
        features = input_features(config, batch, v, v_next, q)
    observations = batch.observations[:, :-1] if config.use_observation else None
    sign = reflections(mask) if config.reflect_actions else None
    return ObjectiveInputs(features, batch.actions, observations, mask, sign, direction)


def reflections(mask: Tensor) -> Tensor:
    """+1 for even and -1 for odd segments: `[B, T] -> [B, 1, 1]`.

    Minibatches are drawn at random, so in expectation this is the objective averaged over an
    action axis and its mirror image: a term that pushes all actions to one side cancels. It is
    what two mirrored environments would teach, at no cost. Our addition.
    """
    sign = torch.ones_like(mask[:, :1]).unsqueeze(-1)
    sign[1::2] = -1
    return sign
