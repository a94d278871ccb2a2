"""The numbers of an explanation: alignment, sensitivity and reach of one objective."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metagenrl.analysis.explain.attribution import (
    advantage_direction,
    cosine,
    critic_direction,
    in_parameters,
    influence,
    objective_direction,
    reach,
)
from metagenrl.analysis.explain.trajectories import AgentSamples
from metagenrl.learner.hyperparams import AgentConfig
from metagenrl.learner.objective import net
from metagenrl.learner.objective.derivatives import LearnedObjective
from metagenrl.learner.objective.features import feature_names
from metagenrl.learner.objective.inputs import ObjectiveInputs
from metagenrl.learner.policy_update import Objective
from metagenrl.learner.policy_value import PolicyEvaluation

Array = NDArray[np.float64]

ADVANTAGE, CRITIC = "advantage (a - π) Â", "critic ∂Q/∂a"
ACTION = "taken action"


@dataclass(frozen=True)
class Alignment:
    """Cosines of one agent's update with a known rule's, by the rule's name."""

    env: str
    actions: dict[str, float]  # in the space of actions
    parameters: dict[str, float]  # in the space of the policy's parameters


def alignment(objective: Objective, samples: AgentSamples) -> Alignment:
    """Mean over the agent's minibatches; NaN where a direction is zero in all of them."""
    cosines = [_cosines(objective, e, samples.agent) for e in samples.evaluations]
    known = {name: [c[name] for c in cosines] for name in cosines[0]}
    means = {name: _mean(values) for name, values in known.items()}
    return Alignment(
        samples.env,
        {name: means[name, "actions"] for name in (ADVANTAGE, CRITIC)},
        {name: means[name, "parameters"] for name in (ADVANTAGE, CRITIC)},
    )


@torch.no_grad()
def _cosines(
    objective: Objective, evaluation: PolicyEvaluation, agent: AgentConfig
) -> dict[tuple[str, str], float]:
    own = objective_direction(objective(evaluation), evaluation.batch.mask)
    in_own = in_parameters(evaluation, own)
    rules = {
        ADVANTAGE: advantage_direction(evaluation, agent.gamma, agent.gae_lambda),
        CRITIC: critic_direction(evaluation),
    }
    cosines = {}
    for name, direction in rules.items():
        cosines[name, "actions"] = cosine(own, direction)
        cosines[name, "parameters"] = cosine(in_own, in_parameters(evaluation, direction))
    return cosines


class Explained:
    """A learned objective, asked about minibatches."""

    def __init__(self, learned: LearnedObjective) -> None:
        self.learned = learned
        self.inputs = [*feature_names(learned.net.config), ACTION]

    def sensitivity(self, samples: AgentSamples, generator: torch.Generator) -> dict[str, float]:
        """Input -> relative change of dL/d pi for one standard deviation (see `Influence`)."""
        rows = []
        for evaluation in samples.evaluations:
            found = influence(
                self._loss, evaluation.pi, inputs_of(self.learned, evaluation), generator
            )
            rows.append([*found.features.tolist(), float(found.actions)])
        return dict(zip(self.inputs, np.mean(rows, axis=0).tolist(), strict=True))

    def reach(self, samples: AgentSamples, generator: torch.Generator) -> Array:
        """How much the inputs k steps later matter to dL/d pi: `[T, inputs]`, k = 0 ... T - 1.

        Of the first step, which sees the whole segment.
        """
        evaluation = samples.evaluations[0]
        inputs = inputs_of(self.learned, evaluation)
        found: Array = reach(self._loss, evaluation.pi, inputs, 0, generator).double().numpy()
        return found

    def _loss(self, pi: Tensor, inputs: ObjectiveInputs) -> Tensor:
        return net.apply(self.learned.net, self.learned.alpha, pi, inputs)


@torch.no_grad()
def inputs_of(learned: LearnedObjective, evaluation: PolicyEvaluation) -> ObjectiveInputs:
    """The objective's inputs from a minibatch."""
    return learned.inputs(evaluation)


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan
