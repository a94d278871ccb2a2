"""Response curves: what an objective does to the policy as one of its inputs changes.

One step in the middle of every stored segment is changed, everything else stays as it is
(partial dependence). Strengths are in units of the root mean square of a step's gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from metagenrl.analysis.explain.attribution import pull, with_action, with_feature
from metagenrl.analysis.explain.measures import Array, inputs_of
from metagenrl.analysis.explain.trajectories import AgentSamples
from metagenrl.learner.objective.derivatives import LearnedObjective
from metagenrl.learner.objective.inputs import ObjectiveInputs
from metagenrl.learner.policy_value import PolicyEvaluation

DEVIATIONS = np.linspace(-2.5, 2.5, 21)
"""Values of reward and V as the objective sees them: normalised."""
TIMES = np.linspace(0.0, 1.0, 11)
"""Positions in the segment."""
OFFSETS = np.linspace(-0.8, 0.8, 17)
"""Of the taken action from the policy's."""


@torch.no_grad()
def feature_response(
    learned: LearnedObjective, samples: AgentSamples, column: int, grid: Array
) -> Array:
    """The pull towards the taken action at each value `[V]` of a feature: `[V]`."""

    def one(step: _MiddleStep) -> list[float]:
        changed = [with_feature(step.inputs, column, step.index, float(v)) for v in grid]
        return [step.pull(inputs) for inputs in changed]

    return _over_minibatches(learned, samples, one)


@torch.no_grad()
def action_response(learned: LearnedObjective, samples: AgentSamples, reward: float) -> Array:
    """The push on the policy's action at each of `OFFSETS`, with a given reward: `[V]`.

    Positive: the action grows; the mean over its dimensions.
    """

    def one(step: _MiddleStep) -> list[float]:
        rewarded = with_feature(step.inputs, 0, step.index, reward)
        taken = [(step.pi + float(offset)).clamp(-1, 1) for offset in OFFSETS]
        return [step.push(with_action(rewarded, step.index, actions)) for actions in taken]

    return _over_minibatches(learned, samples, one)


def _over_minibatches(
    learned: LearnedObjective, samples: AgentSamples, one: Callable[[_MiddleStep], list[float]]
) -> Array:
    rows = [one(_MiddleStep(learned, evaluation)) for evaluation in samples.evaluations]
    mean: Array = np.mean(rows, axis=0)
    return mean


class _MiddleStep:
    """The step in the middle of each segment of a minibatch."""

    def __init__(self, learned: LearnedObjective, evaluation: PolicyEvaluation) -> None:
        self._learned, self._all = learned, evaluation.pi  # [B, T, A]
        self.inputs = inputs_of(learned, evaluation)
        self.index = self._all.shape[1] // 2
        self.pi = self._all[:, self.index]  # [B, A]
        mask = self.inputs.mask
        squares = self._directions(self.inputs).square().sum(-1) * mask
        self._rms = float((squares.sum() / mask.sum().clamp(min=1)).sqrt())
        self._mask = mask[:, self.index]

    def pull(self, inputs: ObjectiveInputs) -> float:
        """Towards the taken action."""
        taken = inputs.actions[:, self.index]
        return self._relative(pull(self._direction(inputs), self.pi, taken, self._mask))

    def push(self, inputs: ObjectiveInputs) -> float:
        """Upwards."""
        upwards = (self._direction(inputs).mean(-1) * self._mask).sum()
        return self._relative(float(upwards / self._mask.sum().clamp(min=1)))

    def _direction(self, inputs: ObjectiveInputs) -> Tensor:
        return self._directions(inputs)[:, self.index]

    def _directions(self, inputs: ObjectiveInputs) -> Tensor:
        return -self._learned.action_gradient(self._learned.forward(self._all, inputs))

    def _relative(self, value: float) -> float:
        return value / self._rms if self._rms > 0 else math.nan
