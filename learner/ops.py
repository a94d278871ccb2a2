"""What an update of K agents calls in one of two forms: plain torch, or C on a processor.

The reference takes one of them once, when it is made, and asks no more. Plain torch runs on any
device, and all agents at once; the C forms run on the CPU, one agent after the other, to rounding
with the same results.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from metagenrl.learner.hyperparams import ObjectiveConfig
from metagenrl.learner.native import library
from metagenrl.learner.native.features import fused_features, native_features
from metagenrl.learner.native.objectives import NativeObjective, has_form
from metagenrl.learner.objective.inputs import ObjectiveInputs
from metagenrl.learner.objective.net import ObjectiveNet
from metagenrl.learner.objective.stacked_objective import StackedObjective
from metagenrl.learner.stacked_adam import StackedAdam, expand, keep
from metagenrl.learner.stacked_evaluation import StackedEvaluation, batch_of, stacked_inputs


class ObjectiveTape(Protocol):
    """One evaluation of L_alpha for K agents."""

    @property
    def loss(self) -> Tensor:
        """l_t `[K, B, T]`, 0 on padding."""
        ...


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


def _follow(target: Tensor, own: Tensor, rate: float, active: Tensor) -> None:
    keep(target, torch.lerp(target, own, rate), expand(active, own))


def _native_objective(net: ObjectiveNet, alpha: Tensor, agents: int) -> ObjectiveOfAll:
    if has_form(net.config):
        return NativeObjective(net, alpha, agents)
    return StackedObjective(net, alpha, agents)


def _native_inputs(config: ObjectiveConfig, evaluation: StackedEvaluation) -> ObjectiveInputs:
    if not native_features(config):
        return stacked_inputs(config, evaluation)

    def features(values: dict[str, Tensor]) -> Tensor:
        own = []
        for agent in range(len(evaluation.pi)):
            of_agent = [values[name][agent] if name in values else None for name in ("v", "v_next")]
            own.append(fused_features(config, batch_of(evaluation.batch, agent), *of_agent))
        return torch.stack(own)

    return stacked_inputs(config, evaluation, features)


def _native_adam(adam: StackedAdam, gradient: Tensor, active: Tensor) -> None:
    for agent in active.nonzero().flatten().tolist():
        own = gradient[agent].contiguous(), adam.m[agent], adam.v[agent], adam.parameters[agent]
        rates = (ctypes.c_double * 5)(*adam.advance(agent))
        library.call("adam", gradient.dtype, own[0].numel(), *own, rates)


def _native_follow(target: Tensor, own: Tensor, rate: float, active: Tensor) -> None:
    for agent in active.nonzero().flatten().tolist():
        target[agent].lerp_(own[agent], rate)


PLAIN = Ops(StackedObjective, stacked_inputs, StackedAdam.step, _follow)
NATIVE = Ops(_native_objective, _native_inputs, _native_adam, _native_follow)
