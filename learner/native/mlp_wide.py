"""Wide ReLU networks as one C call each, on a matrix unit, by AVX-512 or by AVX2.

Rows stay in the cache from a network's input to its output, and weights are packed once a call.
Intel's AMX multiplies bfloat16 and sums in float32. With every float32 cut into three bfloat16
terms, products are as exact as the BLAS's and almost twice as fast; with two (16 bits) three times
(`amx.h`). Elsewhere products are float32's own, or bfloat16's where one term is enough and the
processor multiplies it (`multiply_add.h`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metagenrl.learner.native import library
from metagenrl.learner.native.mlp_small import Shape, flat, shape_of
from metagenrl.learner.networks.spec import MLP, Views

_BLOCK = 32  # `round_up` of wide_rows.h


@dataclass(frozen=True)
class WideTape:
    """The values that `forward` leaves for the derivatives."""

    x: Tensor  # [1 or E, N, inputs]
    z: Tensor  # [L, E, rows, columns]: N and H rounded up, before the activation
    stats: Tensor  # [L, E, N, 2]
    shape: Shape


def forward(net: MLP, p: Views, x: Tensor) -> tuple[Tensor, WideTape]:
    """See `mlp.forward`."""
    x = x.contiguous()
    shape, layers = _shape(net, p, x), net.hidden_layers
    z = x.new_empty(layers, shape.E, _round_up(shape.N), _round_up(net.hidden_units))
    tape = WideTape(x, z, x.new_empty(layers, shape.E, shape.N, 2), shape)
    return _forward(net, p, x, shape, z, tape.stats), tape


def evaluate(net: MLP, p: Views, x: Tensor) -> Tensor:
    """`forward` without a tape."""
    x = x.contiguous()
    return _forward(net, p, x, _shape(net, p, x), None, None)


def _forward(
    net: MLP, p: Views, x: Tensor, shape: Shape, z: Tensor | None, stats: Tensor | None
) -> Tensor:
    y = x.new_empty(shape.E, shape.N, net.outputs)
    _call("forward", net, shape, x, p["w0"][0], z, stats, y)
    return y


def backward(
    net: MLP, p: Views, tape: WideTape, dy: Tensor, grads: Views | None, want_input: bool
) -> Tensor | None:
    """See `mlp.backward`."""
    target, stride = (None, 0) if grads is None else flat(net, grads)
    dx = dy.new_empty(tape.shape.E, tape.shape.N, net.inputs) if want_input else None
    _call(
        "backward", net, tape.shape, tape.x, flat(net, p)[0], tape.z, tape.stats, dy.contiguous(),
        target, stride, dx,
    )  # fmt: skip
    return dx


def parameter_tangent(net: MLP, p: Views, v: Views, tape: WideTape) -> Tensor:
    """See `mlp.parameter_tangent`."""
    direction, stride = flat(net, v)
    yd = tape.x.new_empty(tape.shape.E, tape.shape.N, net.outputs)
    _call(
        "parameter_tangent", net, tape.shape, tape.x, flat(net, p)[0], direction, stride, tape.z,
        tape.stats, yd,
    )  # fmt: skip
    return yd


def _call(name: str, net: MLP, shape: Shape, *arguments: library.Argument) -> None:
    form = library.wide_form(net.terms)
    assert form is not None
    terms = (net.terms,) if form == "amx" else ()
    scratch = library.wide_scratch(form, net.terms, shape)
    library.call(f"{form}_{name}", torch.float32, *terms, shape, *arguments, *scratch)


def _shape(net: MLP, p: Views, x: Tensor) -> Shape:
    return shape_of(net, p["w0"].shape[0], x, flat(net, p)[1])


def _round_up(n: int) -> int:
    return -(-n // _BLOCK) * _BLOCK
