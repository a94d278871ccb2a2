"""L_alpha of one agent, and of K one after the other, in C (`objective.py`)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from metagenrl.learner.native import objective
from metagenrl.learner.native.objective import FusedObjectiveTape
from metagenrl.learner.objective.derivatives import LearnedObjective
from metagenrl.learner.objective.inputs import ObjectiveInputs
from metagenrl.learner.objective.net import ObjectiveNet


class NativeLearned(LearnedObjective):
    """`LearnedObjective` of one agent, a C call for each function."""

    def forward(self, pi: Tensor, inputs: ObjectiveInputs) -> FusedObjectiveTape:
        """See `LearnedObjective`."""
        return objective.forward(self.net, self.alpha, pi, inputs)

    def action_gradient(self, tape: Any) -> Tensor:
        """See `LearnedObjective`."""
        return objective.action_gradient(self.alpha, tape)

    def alpha_gradient(self, tape: Any, u: Tensor) -> Tensor:
        """See `LearnedObjective`."""
        return objective.alpha_gradient(self.alpha, tape, u)

    def second_derivatives(self, tape: Any, u: Tensor) -> tuple[Tensor, Tensor]:
        """See `LearnedObjective`."""
        curvature = torch.empty_like(tape.inputs.actions)
        return objective.alpha_gradient(self.alpha, tape, u, curvature), curvature


@dataclass(frozen=True)
class TapeOfEach:
    """One evaluation of L_alpha on every agent's minibatch."""

    each: list[FusedObjectiveTape]
    loss: Tensor  # [K, B, T], l_t, 0 on padding


class NativeObjective:
    """See `StackedObjective`; results are to the bit those of each agent alone."""

    def __init__(self, net: ObjectiveNet, alpha: Tensor, agents: int) -> None:
        self.net, self.alpha, self.agents = net, alpha, agents

    def forward(self, pi: Tensor, inputs: ObjectiveInputs) -> TapeOfEach:
        """Evaluate l_t for `pi [K, B, T, A]`."""
        each = [
            objective.forward(self.net, self.alpha, own, _of(inputs, agent))
            for agent, own in enumerate(pi)
        ]
        return TapeOfEach(each, torch.stack([tape.loss for tape in each]))

    def action_gradient(self, tape: TapeOfEach) -> Tensor:
        """dL/d pi `[K, B, T, A]`, where L is each agent's sum of l_t over valid steps."""
        return torch.stack([objective.action_gradient(self.alpha, own) for own in tape.each])

    def alpha_gradient(self, tape: TapeOfEach, u: Tensor) -> Tensor:
        """d/d alpha <dL/d pi, u> of each agent, `u [K, B, T, A]`: `[K, P]`."""
        parts = zip(tape.each, u, strict=True)
        return torch.stack([objective.alpha_gradient(self.alpha, own, x) for own, x in parts])


def _of(inputs: ObjectiveInputs, agent: int) -> ObjectiveInputs:
    """One agent's inputs out of those of all."""
    direction = inputs.direction
    return replace(
        inputs,
        features=inputs.features[agent],
        actions=inputs.actions[agent],
        mask=inputs.mask[agent],
        sign=None if inputs.sign is None else inputs.sign[0].contiguous(),
        direction=None if direction is None else direction[agent],
    )
