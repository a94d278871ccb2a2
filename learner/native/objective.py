"""The learned objective in one C call for each derivative: `objective.h`.

Same values as the parts put together in `derivatives.py`, to rounding. Takes the paper's
shape of L_alpha, one LSTM and no observation among the inputs; on a CPU with the C kernels.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from metagenrl.learner.native import library
from metagenrl.learner.objective.inputs import ObjectiveInputs
from metagenrl.learner.objective.net import ObjectiveNet


class Sizes(ctypes.Structure):
    _fields_ = [*((name, ctypes.c_long) for name in "BTAFHUCI"), ("eta", ctypes.c_double)]


@dataclass(frozen=True)
class FusedObjectiveTape:
    """One evaluation of L_alpha and what its derivatives need of it."""

    loss: Tensor  # [B, T], l_t, 0 on padding
    inputs: ObjectiveInputs
    sizes: Sizes
    numbers: Tensor  # laid out by objective.h
    scratch: Tensor


def sizes_of(net: ObjectiveNet, segments: int, steps: int, actions: int) -> Sizes:
    """A minibatch's sizes and the objective's."""
    config = net.config
    return Sizes(
        segments, steps, actions, net.features.inputs, config.hidden_units, config.lstm_units,
        config.input_features, net.action.inputs, config.eta,
    )  # fmt: skip


def forward(
    net: ObjectiveNet, alpha: Tensor, pi: Tensor, inputs: ObjectiveInputs
) -> FusedObjectiveTape:
    """See `LearnedObjective.forward`."""
    sizes, inputs = sizes_of(net, *pi.shape), _contiguous(inputs)
    numbers, scratch = library.scratch(alpha, "objective_room", sizes, parts=2)
    tape = FusedObjectiveTape(torch.empty_like(inputs.mask), inputs, sizes, numbers, scratch)
    library.call(
        "objective_forward", alpha.dtype, sizes, alpha, inputs.actions, pi.contiguous(),
        inputs.direction, inputs.sign, inputs.features, inputs.mask, tape.numbers, tape.loss,
        tape.scratch,
    )  # fmt: skip
    return tape


def _contiguous(inputs: ObjectiveInputs) -> ObjectiveInputs:
    """As C reads them; a user's may lie time-major, or a mask may be one number for all."""
    direction = inputs.direction
    return replace(
        inputs,
        features=inputs.features.contiguous(),
        actions=inputs.actions.contiguous(),
        mask=inputs.mask.contiguous(),
        direction=None if direction is None else direction.contiguous(),
    )


def action_gradient(alpha: Tensor, tape: FusedObjectiveTape) -> Tensor:
    """See `LearnedObjective.action_gradient`."""
    gradient, x = torch.empty_like(tape.inputs.actions), tape.inputs
    library.call(
        "objective_action_gradient", alpha.dtype, tape.sizes, alpha, x.sign, x.mask, tape.numbers,
        gradient, tape.scratch,
    )  # fmt: skip
    return gradient


def alpha_gradient(
    alpha: Tensor, tape: FusedObjectiveTape, u: Tensor, curvature: Tensor | None = None
) -> Tensor:
    """See `LearnedObjective.alpha_gradient`; `curvature` is written where it is given."""
    gradient, x = torch.empty_like(alpha), tape.inputs
    library.call(
        "objective_alpha_gradient", alpha.dtype, tape.sizes, alpha, x.sign, x.features, x.mask,
        tape.numbers, u.contiguous(), gradient, curvature, tape.scratch,
    )  # fmt: skip
    return gradient
