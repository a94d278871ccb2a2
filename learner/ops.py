"""The functions that an update calls, in one of two forms: plain torch, or C on a processor.

Chosen when an agent's networks and objective are made; the equations ask no more. Of K agents,
`Ops` is the whole choice: plain torch runs on any device, and all agents at once, the C forms on
the CPU, one agent after the other. For an agent alone, `learned_objective`, `evaluate` and `adam`
give the class whose methods are C calls where there are such (`native/forms.py`). Results are the
same to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from metagenrl.learner.adam import Adam
from metagenrl.learner.hyperparams import ObjectiveConfig
from metagenrl.learner.native import forms, library
from metagenrl.learner.native.adam import NativeAdam, follow_each, step_each
from metagenrl.learner.native.evaluation import NativeEvaluation
from metagenrl.learner.native.features import native_features
from metagenrl.learner.native.objectives import NativeLearned, NativeObjective
from metagenrl.learner.networks.agent_networks import AgentNetworks
from metagenrl.learner.networks.mlp import Views
from metagenrl.learner.objective.derivatives import LearnedObjective, ObjectiveTape
from metagenrl.learner.objective.inputs import ObjectiveInputs
from metagenrl.learner.objective.net import ObjectiveNet
from metagenrl.learner.objective.stacked_objective import StackedObjective
from metagenrl.learner.policy_value import PolicyEvaluation
from metagenrl.learner.stacked_adam import StackedAdam, follow
from metagenrl.learner.stacked_evaluation import StackedEvaluation, batch_of, stacked_inputs
from metagenrl.learner.types import Batch


class ObjectiveOfAll(Protocol):
    """L_alpha of K agents, see `StackedObjective`."""

    net: ObjectiveNet
    alpha: Tensor
    agents: int

    def forward(self, pi: Tensor, inputs: ObjectiveInputs) -> ObjectiveTape:
        """Evaluate l_t for `pi [K, B, T, A]`."""
        ...

    def action_gradient(self, tape: Any) -> Tensor:
        """dL/d pi `[K, B, T, A]` from the tape that its own `forward` left."""
        ...

    def alpha_gradient(self, tape: Any, u: Tensor) -> Tensor:
        """d/d alpha <dL/d pi, u> `[K, P]`."""
        ...


@dataclass(frozen=True)
class Ops:
    """The functions of one form; `active [K]` says whose tensors may change."""

    objective: Callable[[ObjectiveNet, Tensor, int], ObjectiveOfAll]
    inputs: Callable[[ObjectiveConfig, StackedEvaluation], ObjectiveInputs]
    adam: Callable[[StackedAdam, Tensor, Tensor], None]
    """A step of the optimiser along gradients `[K, ...]`."""
    follow: Callable[[Tensor, Tensor, float, Tensor], None]
    """Targets `[K, ...]` follow with the Polyak rate."""


def _native_objective(net: ObjectiveNet, alpha: Tensor, agents: int) -> ObjectiveOfAll:
    if forms.objective(net.config):
        return NativeObjective(net, alpha, agents)
    return StackedObjective(net, alpha, agents)


def _native_inputs(config: ObjectiveConfig, evaluation: StackedEvaluation) -> ObjectiveInputs:
    def features(values: dict[str, Tensor]) -> Tensor:
        own = []
        for agent in range(len(evaluation.pi)):
            of_agent = {name: value[agent] for name, value in values.items()}
            batch = batch_of(evaluation.batch, agent)
            own.append(native_features(config, batch, **of_agent))
        return torch.stack(own)

    return stacked_inputs(config, evaluation, features)


PLAIN = Ops(StackedObjective, stacked_inputs, StackedAdam.step, follow)
NATIVE = Ops(_native_objective, _native_inputs, step_each, follow_each)


def learned_objective(net: ObjectiveNet, alpha: Tensor) -> LearnedObjective:
    """L_alpha for an agent alone, to be called under `torch.no_grad`."""
    if not library.reads(alpha):
        return LearnedObjective(net, alpha)
    kind = NativeLearned if forms.objective(net.config) else LearnedObjective
    return kind(net, alpha, native_features)


def evaluate(nets: AgentNetworks, phi: Views, theta: Views, batch: Batch) -> PolicyEvaluation:
    """A policy `[1, P]` and its critics on a minibatch, for an agent alone."""
    kind = (
        NativeEvaluation if forms.both_networks(nets.policy, nets.critic, phi) else PolicyEvaluation
    )
    return kind(nets, phi, theta, batch)


def adam(parameters: Tensor, learning_rate: float) -> Adam:
    """The optimiser of an agent alone."""
    kind = NativeAdam if library.reads(parameters) else Adam
    return kind(parameters, learning_rate)
