"""The objective's small networks without layer norm: mixed activations on the hidden layers.

They embed inputs that are constant in the policy's parameters, so a value and an adjoint are all
that is ever needed of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from metagenrl.learner.networks.layers import activate, activation_slope
from metagenrl.learner.networks.mlp import Views
from metagenrl.learner.networks.parameters import Layout


@dataclass(frozen=True)
class FeatureNet:
    """`inputs -> hidden -> hidden -> outputs`, linear at the end (section 3, item 2)."""

    inputs: int
    hidden_units: int
    outputs: int

    @cached_property
    def layout(self) -> Layout:
        """`w0 b0 w1 b1 w2 b2`."""
        sizes = (self.inputs, self.hidden_units, self.hidden_units, self.outputs)
        shapes: list[tuple[str, tuple[int, ...]]] = []
        for i in range(3):
            shapes += [(f"w{i}", (sizes[i], sizes[i + 1])), (f"b{i}", (sizes[i + 1],))]
        return Layout(tuple(shapes))


def apply(net: FeatureNet, p: Views, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """`[N, inputs] -> [N, outputs]` and the tape for `backward`; differentiable by torch."""
    tape: list[Tensor] = []
    relu_units = net.hidden_units // 2
    for i in range(2):
        z = torch.addmm(p[f"b{i}"], x, p[f"w{i}"])
        tape += [x, z]
        x = activate(z, relu_units)
    tape.append(x)
    return torch.addmm(p["b2"], x, p["w2"]), tape


def backward(net: FeatureNet, p: Views, tape: list[Tensor], dy: Tensor, grads: Views) -> None:
    """Write the parameters' gradients for the output's adjoint `dy [N, outputs]`."""
    for i in (2, 1, 0):
        torch.mm(tape[2 * i].mT, dy, out=grads[f"w{i}"])
        torch.sum(dy, 0, out=grads[f"b{i}"])
        if i:
            dy = (dy @ p[f"w{i}"].mT) * activation_slope(tape[2 * i - 1], net.hidden_units // 2)


def backward_each(net: FeatureNet, p: Views, tape: list[Tensor], dy: Tensor, grads: Views) -> None:
    """`backward` for K groups of rows that share the parameters but not the gradient.

    `tape` is that of all rows together, `dy [K, N, outputs]`; `grads` carry a leading axis K.
    """
    k, relu_units = dy.shape[0], net.hidden_units // 2
    for i in (2, 1, 0):
        grads[f"w{i}"].copy_(tape[2 * i].view(k, dy.shape[1], -1).mT @ dy)
        grads[f"b{i}"].copy_(dy.sum(1))
        if i:
            z = tape[2 * i - 1].view(k, dy.shape[1], -1)
            dy = (dy @ p[f"w{i}"].mT) * activation_slope(z, relu_units)
