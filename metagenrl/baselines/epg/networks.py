"""What an EPG agent trains: a Gaussian policy, a memory vector, and PPO's value function.

Houthooft et al. 2018, section 4.1 and appendix A; all parameters are one flat vector theta.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from metagenrl.learner.networks.parameters import Layout
from metagenrl.learner.networks.spec import Views

_MEMORY_INPUTS = 64  # ones; several weights behind each unit let it change faster than one would
_SMALL = 0.01  # norm of the last layers' columns at the start


@dataclass(frozen=True)
class Gaussian:
    """A normal distribution with independent dimensions."""

    mean: Tensor  # [N, A]
    log_std: Tensor  # [N, A]

    def log_probability(self, actions: Tensor) -> Tensor:
        """log p(a): `[N, A] -> [N]`, up to a constant that does not depend on the parameters."""
        z = (actions - self.mean) * torch.exp(-self.log_std)
        return -(0.5 * z.square() + self.log_std).sum(1)

    def divergence(self, other: Gaussian) -> Tensor:
        """KL(self || other): `[N]`."""
        variances = (2 * self.log_std).exp() + (self.mean - other.mean).square()
        ratio = variances / (2 * (2 * other.log_std).exp())
        return (other.log_std - self.log_std + ratio - 0.5).sum(1)

    def detach(self) -> Gaussian:
        """The same distribution as a constant."""
        return Gaussian(self.mean.detach(), self.log_std.detach())


@dataclass(frozen=True)
class EpgNetworks:
    """Sizes of one agent's networks; tanh after each of the two hidden layers."""

    observation_size: int  # O
    action_size: int  # A
    units: int
    memory_units: int

    @cached_property
    def layout(self) -> Layout:
        """`policy_*`, `log_std [A]`, `value_*`, `memory_*`; weights are `[outputs, inputs]`."""
        shapes: list[tuple[str, tuple[int, ...]]] = []
        for name, outputs in (("policy", self.action_size), ("value", 1)):
            sizes = (self.observation_size, self.units, self.units, outputs)
            for i in range(3):
                shapes += [(f"{name}_w{i}", (sizes[i + 1], sizes[i]))]
                shapes += [(f"{name}_b{i}", (sizes[i + 1],))]
        shapes += [("log_std", (self.action_size,))]
        shapes += [("memory_w", (self.memory_units, _MEMORY_INPUTS))]
        shapes += [("memory_b", (self.memory_units,))]
        return Layout(tuple(shapes))

    def initial(self, generator: torch.Generator) -> Tensor:
        """A flat theta `[P]`: columns of norm 1, last layers of norm 0.01, standard deviation 1."""
        flat = torch.zeros(self.layout.size)
        for name, view in self.layout.views(flat).items():
            if view.dim() == 2:
                view.normal_(generator=generator)
                view.div_(torch.linalg.vector_norm(view, dim=0, keepdim=True))
                view.mul_(_SMALL if name.endswith("w2") or name == "memory_w" else 1.0)
        return flat

    def policy(self, theta: Views, s: Tensor) -> Gaussian:
        """The distribution of the action at normalised observations `[N, O]`."""
        mean = _mlp(theta, "policy", s)
        return Gaussian(mean, theta["log_std"].expand_as(mean))

    def value(self, theta: Views, s: Tensor) -> Tensor:
        """V(s): `[N, O] -> [N]`."""
        return _mlp(theta, "value", s)[:, 0]

    def memory(self, theta: Views) -> Tensor:
        """The memory vector, in [-1, 1]: a layer on a constant input."""
        return torch.tanh(theta["memory_w"].sum(1) + theta["memory_b"])


def _mlp(theta: Views, name: str, x: Tensor) -> Tensor:
    for i in range(2):
        x = functional.linear(x, theta[f"{name}_w{i}"], theta[f"{name}_b{i}"]).tanh()
    return functional.linear(x, theta[f"{name}_w2"], theta[f"{name}_b2"])
