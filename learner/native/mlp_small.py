"""Small multi-layer perceptrons as one C call: `mlp.h` behind the functions of `mlp.py`."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from metagenrl.learner.native import library
from metagenrl.learner.networks.spec import MLP, Views

_ROWS = 32  # MLP_ROWS of mlp.h


class Shape(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_long) for name in ["E", "N", "I", "H", "L", "O", "relu", "xs", "stride"]
    ]


@dataclass(frozen=True)
class FusedTape:
    """The values that `forward` leaves for the derivatives."""

    x: Tensor  # [1 or E, N, inputs]
    z: Tensor  # [L, E, N, H], before the activation
    stats: Tensor  # [L, E, N, 2]
    shape: Shape


@dataclass(frozen=True)
class FusedTangentTape:
    """The values that `input_tangent` leaves for `dual_backward`."""

    xd: Tensor  # [E, N, inputs]
    zd: Tensor  # [L, E, N, H]


def flat(net: MLP, views: Views) -> tuple[Tensor, int]:
    """The first member's first tensor, and how far it is to the next member's.

    The views are of flat vectors, in which tensors lie one after the other.

    Raises `ValueError` where they do not: C reads the whole vector from the first one's address.
    """
    first = views["w0"]
    last = views["b_out"] if net.outputs else views[f"beta{net.hidden_layers - 1}"]
    span = (last.data_ptr() - first.data_ptr()) // first.element_size() + last.shape[-1]
    if span != net.layout.size or first.stride(1) != first.shape[2]:
        raise ValueError("parameters: got scattered tensors, allowed: views of one flat vector")
    return first[0], first.stride(0)


def forward(net: MLP, p: Views, x: Tensor) -> tuple[Tensor, FusedTape]:
    """See `mlp.forward`."""
    first, stride = flat(net, p)
    x = x if x.is_contiguous() else x.contiguous()
    shape = shape_of(net, p["w0"].shape[0], x, stride)
    z = x.new_empty(net.hidden_layers, shape.E, shape.N, net.hidden_units)
    stats = x.new_empty(net.hidden_layers, shape.E, shape.N, 2)
    y = x.new_empty(shape.E, shape.N, net.outputs or net.hidden_units)
    library.call("mlp_forward", x.dtype, shape, x, first, z, stats, y, _work(net, x, 2))
    return y, FusedTape(x, z, stats, shape)


def shape_of(net: MLP, members: int, x: Tensor, stride: int) -> Shape:
    """Sizes for `members` whose parameters lie `stride` apart, on `x [1 or E, N, inputs]`."""
    n = x.shape[1]
    per_member = n * net.inputs if x.shape[0] > 1 else 0
    return Shape(
        members, n, net.inputs, net.hidden_units, net.hidden_layers, net.outputs, net.relu_units,
        per_member, stride,
    )  # fmt: skip


def _work(net: MLP, x: Tensor, blocks: int) -> Tensor:
    """Scratch: the transposed weights, the output layer's gradient, blocks of rows, one row."""
    h = net.hidden_units
    return x.new_empty(net.layout.size + h * net.outputs + blocks * _ROWS * h + 4 * h)


def backward(
    net: MLP, p: Views, tape: FusedTape, dy: Tensor, grads: Views | None, want_input: bool
) -> Tensor | None:
    """See `mlp.backward`."""
    first, _ = flat(net, p)
    target, stride = (None, 0) if grads is None else flat(net, grads)
    shape = tape.shape
    dx = dy.new_empty(shape.E, shape.N, net.inputs) if want_input else None
    library.call(
        "mlp_backward", dy.dtype, shape, tape.x, first, tape.z, tape.stats,
        dy.contiguous(), target, stride, dx, _work(net, dy, 3),
    )  # fmt: skip
    return dx


def parameter_tangent(net: MLP, p: Views, v: Views, tape: FusedTape) -> Tensor:
    """See `mlp.parameter_tangent`."""
    (first, _), (direction, stride) = flat(net, p), flat(net, v)
    yd = tape.x.new_empty(tape.shape.E, tape.shape.N, net.outputs)
    work = _work(net, yd, 3)
    library.call(
        "mlp_parameter_tangent", yd.dtype, tape.shape, tape.x, first, direction, stride, tape.z,
        tape.stats, yd, work,
    )  # fmt: skip
    return yd


def input_tangent(
    net: MLP, p: Views, tape: FusedTape, xd: Tensor
) -> tuple[Tensor, FusedTangentTape]:
    """See `mlp.input_tangent`."""
    first, _ = flat(net, p)
    xd = xd.expand(tape.shape.E, -1, -1).contiguous()
    zd = torch.empty_like(tape.z)
    yd = xd.new_empty(tape.shape.E, tape.shape.N, net.outputs or net.hidden_units)
    work = _work(net, xd, 2)
    library.call(
        "mlp_input_tangent", xd.dtype, tape.shape, xd, first, tape.z, tape.stats, zd, yd, work
    )
    return yd, FusedTangentTape(xd, zd)


def dual_backward(
    net: MLP,
    p: Views,
    tape: FusedTape,
    tangents: FusedTangentTape,
    ay: Tensor | None,
    ayd: Tensor,
    grads: Views,
    want_input: bool,
) -> tuple[Tensor, Tensor] | None:
    """See `mlp.dual_backward`."""
    (first, _), (target, stride) = flat(net, p), flat(net, grads)
    pair = ayd.new_empty(2, tape.shape.E, tape.shape.N, net.inputs) if want_input else None
    library.call(
        "mlp_dual_backward", ayd.dtype, tape.shape, tape.x, tangents.xd, first, tape.z,
        tape.stats, tangents.zd, None if ay is None else ay.contiguous(),
        ayd.contiguous(), target, stride, None if pair is None else pair[0],
        None if pair is None else pair[1], _work(net, ayd, 6),
    )  # fmt: skip
    return None if pair is None else (pair[0], pair[1])
