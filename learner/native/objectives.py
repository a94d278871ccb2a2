"""L_alpha of K agents, in C for one agent after the other (`objective.py`)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from metagenrl.learner.hyperparams import ObjectiveConfig
from metagenrl.learner.native import objective
from metagenrl.learner.native.objective import FusedObjectiveTape
from metagenrl.learner.objective.inputs import ObjectiveInputs
from metagenrl.learner.objective.net import ObjectiveNet


def has_form(config: ObjectiveConfig) -> bool:
    """Whether the kernels have this variant of L_alpha."""
    return not (config.bidirectional or config.use_observation)


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
    """One agent's inputs out of those of all; contiguous, as C reads them."""
    direction = inputs.direction
    return replace(
        inputs,
        features=inputs.features[agent].contiguous(),
        actions=inputs.actions[agent],
        mask=inputs.mask[agent].contiguous(),
        sign=None if inputs.sign is None else inputs.sign[0].contiguous(),
        direction=None if direction is None else direction[agent],
    )
