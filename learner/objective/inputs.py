"""What the learned objective is given for one minibatch: constants without gradient (section 3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from metagenrl.learner.hyperparams import ObjectiveConfig
from metagenrl.learner.objective.features import input_features, normalize_direction
from metagenrl.learner.types import Batch

Features = Callable[[ObjectiveConfig, Batch, Tensor | None, Tensor | None, Tensor | None], Tensor]
"""What `input_features` is, in any form: V_t, V_{t+1} and Q `[B, T]` to `[B, T, F]`."""


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
    """The critic's values that the objective needs, by their names in `objective_inputs`."""
    values = {"v": evaluated.v, "v_next": evaluated.v_next} if config.use_value else {}
    if config.use_advantage:
        values["q"] = evaluated.value_of(evaluated.batch.actions)
    return values


def inputs_on(
    config: ObjectiveConfig, evaluated: Evaluated, features: Features = input_features
) -> ObjectiveInputs:
    """The objective's inputs from an evaluated minibatch; only those that it uses are computed."""
    values = critic_values(config, evaluated)
    direction = critic_direction(config, evaluated)
    batch = evaluated.batch
    return objective_inputs(config, batch, **values, direction=direction, features=features)


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
    features: Features = input_features,
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
    rows = features(config, batch, v, v_next, q)
    observations = batch.observations[:, :-1] if config.use_observation else None
    sign = reflections(mask) if config.reflect_actions else None
    return ObjectiveInputs(rows, batch.actions, observations, mask, sign, direction)


def reflections(mask: Tensor) -> Tensor:
    """+1 for even and -1 for odd segments: `[B, T] -> [B, 1, 1]`.

    Minibatches are drawn at random, so in expectation this is the objective averaged over an
    action axis and its mirror image: a term that pushes all actions to one side cancels. It is
    what two mirrored environments would teach, at no cost. Our addition.
    """
    sign = torch.ones_like(mask[:, :1]).unsqueeze(-1)
    sign[1::2] = -1
    return sign
