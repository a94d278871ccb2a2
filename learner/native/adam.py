"""Adam and Polyak averaging in C, for one agent after the other."""

from __future__ import annotations

import ctypes

from torch import Tensor

from metagenrl.learner.adam import Adam
from metagenrl.learner.native import library
from metagenrl.learner.stacked_adam import StackedAdam


class NativeAdam(Adam):
    """`Adam` in one C call a step."""

    def step(self, gradient: Tensor) -> None:
        """See `Adam`."""
        _step(gradient, self.m, self.v, self.parameters, self.advance())


def step_each(adam: StackedAdam, gradient: Tensor, active: Tensor) -> None:
    """`StackedAdam.step`."""
    for agent in active.nonzero().flatten().tolist():
        own = adam.m[agent], adam.v[agent], adam.parameters[agent]
        _step(gradient[agent].contiguous(), *own, adam.advance(agent))


def follow_each(target: Tensor, own: Tensor, rate: float, active: Tensor) -> None:
    """`stacked_adam.follow`."""
    for agent in active.nonzero().flatten().tolist():
        target[agent].lerp_(own[agent], rate)


def _step(
    gradient: Tensor, m: Tensor, v: Tensor, parameters: Tensor, rates: tuple[float, ...]
) -> None:
    numbers = (ctypes.c_double * 5)(*rates)
    library.call("adam", gradient.dtype, gradient.numel(), gradient, m, v, parameters, numbers)
