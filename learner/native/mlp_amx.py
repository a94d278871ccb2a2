"""Wide ReLU networks in float32 on a processor's matrix unit, as one C call each.

Intel's AMX multiplies bfloat16 and sums in float32. With every float32 cut into three bfloat16
terms, products are as exact as the BLAS's and almost twice as fast; with two (16 bits) three times
(`amx.h`). Rows stay in the cache from a network's input to its output.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metagenrl.learner.native import library
from metagenrl.learner.native.mlp_small import Shape, flat, shape_of
from metagenrl.learner.networks.spec import MLP, Views

_ROWS = 64  # fewer do not pay for packing the weights
_WIDEST = 384  # AMX_WIDEST of amx.h
_BLOCK = 32  # its BLOCK


@dataclass(frozen=True)
class AmxTape:
    """What `forward` leaves for the derivatives."""

    x: Tensor  # [1 or E, N, inputs]
    z: Tensor  # [L, E, rows, columns]: N and H rounded up, before the activation
    stats: Tensor  # [L, E, N, 2]
    shape: Shape


def takes(net: MLP, x: Tensor) -> bool:
    """Whether these rows of this network run on the matrix unit."""
    return (
        library.matrix_unit()
        and library.usable(x)
        and x.dtype == torch.float32
        and x.shape[1] >= _ROWS
        and net.hidden_layers > 0
        and net.outputs > 0
        and net.relu_units == net.hidden_units
        and max(net.inputs, net.hidden_units) <= _WIDEST
    )


def forward(net: MLP, p: Views, x: Tensor) -> tuple[Tensor, AmxTape]:
    """See `mlp.forward`."""
    x = x.contiguous()
    shape, layers = _shape(net, p, x), net.hidden_layers
    z = x.new_empty(layers, shape.E, _round_up(shape.N), _round_up(net.hidden_units))
    tape = AmxTape(x, z, x.new_empty(layers, shape.E, shape.N, 2), shape)
    return _forward(net, p, x, shape, z, tape.stats), tape


def evaluate(net: MLP, p: Views, x: Tensor) -> Tensor:
    """`forward` without a tape."""
    x = x.contiguous()
    return _forward(net, p, x, _shape(net, p, x), None, None)


def _forward(
    net: MLP, p: Views, x: Tensor, shape: Shape, z: Tensor | None, stats: Tensor | None
) -> Tensor:
    y = x.new_empty(shape.E, shape.N, net.outputs)
    scratch = library.matrix_unit_scratch(net.terms, shape)
    library.call("amx_forward", x.dtype, net.terms, shape, x, p["w0"], z, stats, y, *scratch)
    return y


def backward(
    net: MLP, p: Views, tape: AmxTape, dy: Tensor, grads: Views | None, want_input: bool
) -> Tensor | None:
    """See `mlp.backward`."""
    target, stride = (None, 0) if grads is None else flat(net, grads)
    dx = dy.new_empty(tape.shape.E, tape.shape.N, net.inputs) if want_input else None
    library.call(
        "amx_backward", dy.dtype, net.terms, tape.shape, tape.x, flat(net, p)[0], tape.z,
        tape.stats, dy.contiguous(), target, stride, dx,
        *library.matrix_unit_scratch(net.terms, tape.shape),
    )  # fmt: skip
    return dx


def parameter_tangent(net: MLP, p: Views, v: Views, tape: AmxTape) -> Tensor:
    """See `mlp.parameter_tangent`."""
    direction, stride = flat(net, v)
    yd = tape.x.new_empty(tape.shape.E, tape.shape.N, net.outputs)
    library.call(
        "amx_parameter_tangent", yd.dtype, net.terms, tape.shape, tape.x, flat(net, p)[0],
        direction, stride, tape.z, tape.stats, yd,
        *library.matrix_unit_scratch(net.terms, tape.shape),
    )  # fmt: skip
    return yd


def _shape(net: MLP, p: Views, x: Tensor) -> Shape:
    first, stride = flat(net, p)
    return shape_of(net, first.shape[0], x, stride)


def _round_up(n: int) -> int:
    return -(-n // _BLOCK) * _BLOCK
