"""A user's policy and critic on a minibatch, as the objective looks at them."""

from __future__ import annotations

import itertools
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

ROUNDING = 1e-4  # of actions that an environment's bounds were scaled to [-1, 1] from
ALLOWED = {
    "observations": "finite numbers",
    "actions": "numbers in [-1, 1] (environments' bounds are scaled to these)",
    "rewards": "finite numbers",
    "terminated": "0 or 1",
    "mask": "1 on a row's first steps and 0 on those after them",
    "policy's actions": "numbers in [-1, 1], such as tanh gives",
    "critic's values": "finite numbers",
}
"""The values of a minibatch's fields, and of a policy."""


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
        _check_values(batch, pi)
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
        with torch.inference_mode(False), torch.enable_grad():
            actions = _ordinary(self.pi.detach()).requires_grad_()
            value = self._value(_ordinary(self._states)[:, :-1], actions).sum()
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
        _refuse({"critic's values": (value, ~value.isfinite())})
        return value.to(self.pi.dtype)


def check_batch(batch: Batch) -> None:
    """Raise `ValueError` for the first field that is no tensor, or does not fit `actions`."""
    require(isinstance(batch, Batch), "batch", type(batch), "a metagenrl.Batch")
    fields = {name: _tensor(name, value) for name, value in vars(batch).items()}
    for name, value in fields.items():
        device, wanted_device = value.device, batch.actions.device
        require(device == wanted_device, name, str(device), f"{wanted_device}, as actions")
    shape = tuple(batch.actions.shape)
    fits = len(shape) == 3 and min(shape) > 0
    require(fits, "actions", shape, "shape [B, T, A], each at least 1")
    b, t, _ = shape
    o = tuple(batch.observations.shape)
    require(len(o) == 3 and o[:2] == (b, t + 1), "observations", o, f"shape ({b}, {t + 1}, O)")
    for name in ("rewards", "terminated", "mask"):
        found = tuple(getattr(batch, name).shape)
        require(found == (b, t), name, found, f"shape {(b, t)}")


def _check_values(batch: Batch, pi: Tensor) -> None:
    """Raise `ValueError` for the first value that the fields' definitions exclude.

    On padding too, where a mask of 0 leaves NaN what it is.
    """
    mask = ~_binary(batch.mask)
    mask[:, 1:] |= batch.mask[:, 1:] > batch.mask[:, :-1]  # a step after padding
    _refuse(
        {
            "observations": (batch.observations, ~batch.observations.isfinite()),
            "actions": (batch.actions, _beyond(batch.actions)),
            "rewards": (batch.rewards, ~batch.rewards.isfinite()),
            "terminated": (batch.terminated, ~_binary(batch.terminated)),
            "mask": (batch.mask, mask),
            "policy's actions": (pi, _beyond(pi)),
        }
    )


def _refuse(fields: dict[str, tuple[Tensor, Tensor]]) -> None:
    """Raise `ValueError` for the first field with an entry that is marked; one look at a device."""
    found = torch.stack([marked.any() for _, marked in fields.values()]).tolist()
    for name, (values, marked) in itertools.compress(fields.items(), found):
        raise ValueError(f"{name}: got {values[marked][0].item():g}, allowed: {ALLOWED[name]}")


def _beyond(actions: Tensor) -> Tensor:
    """Where they are not in [-1, 1], but for rounding."""
    return ~((actions >= -1 - ROUNDING) & (actions <= 1 + ROUNDING))


def _binary(flags: Tensor) -> Tensor:
    return (flags == 0) | (flags == 1)


def _ordinary(x: Tensor) -> Tensor:
    """`x`, or a copy where it was made in inference mode: none of those takes part in a graph."""
    return x.clone() if x.is_inference() else x


def _tensor(field: str, value: Any) -> Tensor:
    """`value`. Raises `ValueError` unless it is an ordinary tensor of real numbers."""
    allowed = "a dense tensor of real numbers (torch.from_numpy makes one of an array)"
    require(isinstance(value, Tensor), field, type(value), allowed)
    if torch._C._functorch.is_functorch_wrapped_tensor(value):  # has no memory that C could read
        raise ValueError(f"{field}: got a tensor within a transform of torch.func, allowed: one of "
                         "ordinary autograd (loss.backward(), torch.autograd.grad)")  # fmt: skip
    shown = f"{value.dtype}, {value.layout}"
    real = not value.is_complex() and value.layout == torch.strided
    require(real, field, shown, allowed)
    return value
