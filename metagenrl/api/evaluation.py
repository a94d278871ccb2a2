"""A user's policy and critic on a minibatch, as the objective looks at them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from metagenrl.base.checks import require
from metagenrl.learner.types import Batch

Policy = Callable[[Tensor], Tensor]
"""pi(s): `[..., O] -> [..., A]` in [-1, 1], differentiable in the parameters to be trained."""
Critic = Callable[[Tensor, Tensor], Tensor]
"""Q(s, a): `[..., O], [..., A] -> [...]` or `[..., 1]`."""


class OnBatch:
    """`Evaluated` for any torch policy and critic; only what the objective asks for is computed.

    Raises `ValueError`, one line, where a shape is not as the protocol says.
    """

    def __init__(self, batch: Batch, policy: Policy, critic: Critic) -> None:
        check_batch(batch)
        self.batch, self._policy, self._critic = batch, policy, critic
        self.pi = policy(batch.observations[:, :-1])
        """`[B, T, A]`, with the policy's graph."""
        found, wanted = tuple(self.pi.shape), tuple(batch.actions.shape)
        require(found == wanted, "policy's actions", found, f"the batch's actions' shape {wanted}")

    @cached_property
    def _values(self) -> Tensor:
        """V of all states, `[B, T + 1]`."""
        states = self.batch.observations
        with torch.no_grad():
            last = self._policy(states[:, -1:])
            return self._value(states, torch.cat([self.pi.detach(), last], 1))

    @property
    def v(self) -> Tensor:
        """V_t `[B, T]`."""
        return self._values[:, :-1]

    @property
    def v_next(self) -> Tensor:
        """V_{t+1} `[B, T]`."""
        return self._values[:, 1:]

    @property
    def action_value_gradient(self) -> Tensor:
        """dQ / da at pi(s_t): `[B, T, A]`."""
        with torch.enable_grad():
            actions = self.pi.detach().requires_grad_()
            value = self._value(self.batch.observations[:, :-1], actions).sum()
            (gradient,) = torch.autograd.grad(value, actions)
        return gradient

    def value_of(self, actions: Tensor) -> Tensor:
        """Q(s_t, a_t) of any actions: `[B, T, A] -> [B, T]`."""
        with torch.no_grad():
            return self._value(self.batch.observations[:, :-1], actions)

    def _value(self, states: Tensor, actions: Tensor) -> Tensor:
        value = self._critic(states, actions)
        wanted = tuple(states.shape[:-1])
        value = value.squeeze(-1) if value.shape == (*wanted, 1) else value
        found = tuple(value.shape)
        require(found == wanted, "critic's values", found, f"shape {wanted} or {(*wanted, 1)}")
        return value


def check_batch(batch: Batch) -> None:
    """Raise `ValueError` for the first field whose shape does not fit `actions [B, T, A]`."""
    shape = tuple(batch.actions.shape)
    require(len(shape) == 3, "actions", shape, "shape [B, T, A]")
    b, t, _ = shape
    o = tuple(batch.observations.shape)
    require(len(o) == 3 and o[:2] == (b, t + 1), "observations", o, f"shape ({b}, {t + 1}, O)")
    for name in ("rewards", "terminated", "mask"):
        found = tuple(getattr(batch, name).shape)
        require(found == (b, t), name, found, f"shape {(b, t)}")
