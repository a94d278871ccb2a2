"""A user's policy and critic on a minibatch, as the objective looks at them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

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

    The policy and the critic get observations and actions as they were given. All else is in
    float64 where the policy's actions are, and in float32 otherwise (under autocast, too).
    Raises `ValueError`, one line, where a value is not as the protocol says.
    """

    def __init__(self, batch: Batch, policy: Policy, critic: Critic) -> None:
        check_batch(batch)
        for name, function in (("policy", policy), ("critic", critic)):
            require(callable(function), name, function, "a module or a function")
        self._policy, self._critic, self._states = policy, critic, batch.observations
        pi = _tensor("policy's actions", policy(self._states[:, :-1]))
        found, wanted = tuple(pi.shape), tuple(batch.actions.shape)
        require(found == wanted, "policy's actions", found, f"the batch's actions' shape {wanted}")
        self._given = pi.dtype
        dtype = torch.float64 if pi.dtype == torch.float64 else torch.float32
        self.batch = batch.to(dtype)
        self.pi = pi.to(dtype)
        """`[B, T, A]`, with the policy's graph."""

    @cached_property
    def _values(self) -> Tensor:
        """V of all states, `[B, T + 1]`."""
        with torch.no_grad():
            last = self._policy(self._states[:, -1:]).to(self.pi)
            return self._value(self._states, torch.cat([self.pi.detach(), last], 1))

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
            value = self._value(self._states[:, :-1], actions).sum()
            graph = value.requires_grad
            found = torch.autograd.grad(value, actions, allow_unused=True) if graph else (None,)
        if found[0] is None:
            raise ValueError("critic's values: got values whose graph does not reach the actions, "
                             "allowed: values that are differentiable in the actions")  # fmt: skip
        return found[0]

    def value_of(self, actions: Tensor) -> Tensor:
        """Q(s_t, a_t) of any actions: `[B, T, A] -> [B, T]`."""
        with torch.no_grad():
            return self._value(self._states[:, :-1], actions)

    def _value(self, states: Tensor, actions: Tensor) -> Tensor:
        value = _tensor("critic's values", self._critic(states, actions.to(self._given)))
        wanted = tuple(states.shape[:-1])
        value = value.squeeze(-1) if value.shape == (*wanted, 1) else value
        found = tuple(value.shape)
        require(found == wanted, "critic's values", found, f"shape {wanted} or {(*wanted, 1)}")
        return value.to(self.pi.dtype)


def check_batch(batch: Batch) -> None:
    """Raise `ValueError` for the first field that is no tensor, or does not fit `actions`."""
    require(isinstance(batch, Batch), "batch", type(batch), "a metagenrl.Batch")
    fields = {name: _tensor(name, value) for name, value in vars(batch).items()}
    for name, value in fields.items():
        device, wanted_device = value.device, batch.actions.device
        require(device == wanted_device, name, str(device), f"{wanted_device}, as actions")
    shape = tuple(batch.actions.shape)
    require(len(shape) == 3 and shape[-1] > 0, "actions", shape, "shape [B, T, A]")
    b, t, _ = shape
    o = tuple(batch.observations.shape)
    require(len(o) == 3 and o[:2] == (b, t + 1), "observations", o, f"shape ({b}, {t + 1}, O)")
    for name in ("rewards", "terminated", "mask"):
        found = tuple(getattr(batch, name).shape)
        require(found == (b, t), name, found, f"shape {(b, t)}")


def _tensor(field: str, value: Any) -> Tensor:
    """`value`. Raises `ValueError` unless it is an ordinary tensor of real numbers."""
    allowed = "a dense tensor of real numbers (torch.from_numpy makes one of an array)"
    require(isinstance(value, Tensor), field, type(value), allowed)
    shown = f"{value.dtype}, {value.layout}"
    real = not value.is_complex() and value.layout == torch.strided
    require(real, field, shown, allowed)
    return value
