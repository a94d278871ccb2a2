"""A policy and its critic on a minibatch in C calls, for small networks (`updates.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from torch import Tensor

from metagenrl.learner.native import updates
from metagenrl.learner.policy_value import ATANH_BOUND, FREE_RANGE, PolicyEvaluation
from metagenrl.learner.types import Batch


class NativeEvaluation(PolicyEvaluation):
    """`PolicyEvaluation` whose values are one C call, and each derivative another."""

    def _evaluate(self) -> None:
        known = updates.evaluate(self.nets, self.phi, self.theta1, self.batch)
        self.states, self.policy_tape = known.states, known.policy_tape
        self.pi, self._values = known.pi, (known.v, known.v_next)

    @property
    def v(self) -> Tensor:
        """V_t `[B, T]`."""
        return self._values[0]

    @cached_property
    def v_next(self) -> Tensor:
        """V_{t+1} `[B, T]`."""
        return self._values[1]

    def _through_tanh(self, action_gradient: Tensor, penalty: float) -> Tensor:
        bounds = FREE_RANGE, ATANH_BOUND
        return updates.through_tanh(action_gradient, self.pi, self.batch, penalty, *bounds)

    def _tanh_tangent(self, tangent: Tensor) -> Tensor:
        updates.tanh_tangent(self.pi, self.batch, tangent)
        return tangent

    def value_gradient(self, phi: Tensor, others: Sequence[Batch]) -> tuple[Tensor, Tensor]:
        """See `PolicyEvaluation`."""
        if len(others) > 1:
            return super().value_gradient(phi, others)
        return updates.value_gradient(self.nets, phi, self.theta1, self.batch, *others)
