"""Activation, layer norm and LSTM in C: the functions of `networks/layers.py`, one call each.

Arguments and results are those of the plain functions, see there for shapes. A kernel overwrites
its first argument where the plain function says "may be overwritten".
"""

from __future__ import annotations

import torch
from torch import Tensor

from metagenrl.learner.native import library

_ROWS = 16  # ROWS of layers.h


def act_ln(
    z: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, relu_units: int
) -> tuple[Tensor, Tensor, Tensor]:
    """See `layers.act_ln`; overwrites `z`."""
    (e, n, h), y = z.shape, torch.empty_like(z)
    stats = z.new_empty(e, n, 2)
    p = (bias.contiguous(), gamma.contiguous(), beta.contiguous())
    library.call("act_ln", z.dtype, e, n, h, relu_units, z, *p, y, stats)
    return z, y, stats


def act_ln_backward(
    dy: Tensor, z: Tensor, stats: Tensor, gamma: Tensor, relu_units: int, grads: list[Tensor] | None
) -> Tensor:
    """See `layers.act_ln_backward`."""
    (e, n, h), dz = z.shape, torch.empty_like(z)
    dbias, dgamma, dbeta = _accumulators(grads, z)
    work = z.new_empty(2 * h)
    tensors = (dy, z, stats, gamma.contiguous(), dz, dgamma, dbeta, dbias, work)
    library.call("act_ln_backward", z.dtype, e, n, h, relu_units, *tensors)
    _accumulate(grads, [dbias, dgamma, dbeta])
    return dz


def act_ln_tangent(zd: Tensor, z: Tensor, stats: Tensor, gamma: Tensor, relu_units: int) -> Tensor:
    """See `layers.act_ln_tangent`."""
    (e, n, h), yd = z.shape, torch.empty_like(z)
    work = z.new_empty(2 * h)
    library.call(
        "act_ln_tangent", z.dtype, e, n, h, relu_units, zd, z, stats, gamma.contiguous(), yd, work
    )
    return yd


def act_ln_dual_backward(
    ay: Tensor,
    ayd: Tensor,
    z: Tensor,
    zd: Tensor,
    stats: Tensor,
    gamma: Tensor,
    relu_units: int,
    grads: list[Tensor],
) -> tuple[Tensor, Tensor]:
    """See `layers.act_ln_dual_backward`."""
    e, n, h = z.shape
    az, azd = torch.empty_like(z), torch.empty_like(z)
    dbias, dgamma, dbeta = _accumulators(grads, z)
    work = z.new_empty(4 * h)
    tensors = (ay, ayd, z, zd, stats, gamma.contiguous(), az, azd, dgamma, dbeta, dbias, work)
    library.call("act_ln_dual_backward", z.dtype, e, n, h, relu_units, *tensors)
    _accumulate(grads, [dbias, dgamma, dbeta])
    return az, azd


def _accumulators(grads: list[Tensor] | None, z: Tensor) -> list[Tensor | None]:
    """Contiguous places for the gradients of bias, gamma, beta: the given ones if they are."""
    if grads is None:
        return [None, None, None]
    return [
        g if g.is_contiguous() else torch.zeros_like(g, memory_format=torch.contiguous_format)
        for g in grads
    ]


def _accumulate(grads: list[Tensor] | None, parts: list[Tensor | None]) -> None:
    for total, part in zip(grads or [], parts, strict=False):
        if part is not None and part is not total:
            total.add_(part)


def lstm(x: Tensor, w: Tensor, mask: Tensor, reverse: bool) -> tuple[Tensor, Tensor, Tensor]:
    """See `layers.lstm`; overwrites `x`."""
    b, t, h = x.shape[0], x.shape[1], w.shape[0]
    out, c = x.new_empty(b, t, h), x.new_empty(b, t, h)
    library.call(
        "lstm", x.dtype, b, t, h, int(reverse), w.contiguous(), mask.contiguous(), x, out, c
    )
    return out, c, x


def lstm_tangent(
    xd: Tensor, w: Tensor, mask: Tensor, gates: Tensor, c: Tensor, reverse: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """See `layers.lstm_tangent`; overwrites `xd`."""
    b, t, h = c.shape
    hd, cd = torch.empty_like(c), torch.empty_like(c)
    tensors = (w.contiguous(), mask.contiguous(), gates, c, xd, hd, cd)
    library.call("lstm_tangent", xd.dtype, b, t, h, int(reverse), *tensors)
    return hd, cd, xd


def lstm_backward(
    ah: Tensor, w: Tensor, mask: Tensor, gates: Tensor, c: Tensor, reverse: bool
) -> Tensor:
    """See `layers.lstm_backward`."""
    b, t, h = c.shape
    ax, work = torch.empty_like(gates), ah.new_empty(2 * _ROWS * h)
    tensors = (w.mT.contiguous(), mask.contiguous(), gates, c, ah, ax, work)
    library.call("lstm_backward", ah.dtype, b, t, h, int(reverse), *tensors)
    return ax


def lstm_dual_backward(
    ah: Tensor,
    ahd: Tensor,
    w: Tensor,
    mask: Tensor,
    gates: Tensor,
    c: Tensor,
    zd: Tensor,
    cd: Tensor,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    """See `layers.lstm_dual_backward`."""
    b, t, h = c.shape
    ax, axd = torch.empty_like(gates), torch.empty_like(gates)
    work = ah.new_empty(4 * _ROWS * h)
    tensors = (
        w.mT.contiguous(), mask.contiguous(), gates, c, zd, cd, ah, ahd, ax, axd, work,
    )  # fmt: skip
    library.call("lstm_dual_backward", ah.dtype, b, t, h, int(reverse), *tensors)
    return ax, axd


def bf16_act_ln(
    z: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, relu_units: int
) -> tuple[Tensor, Tensor]:
    """See `layers_bfloat16.act_ln`."""
    (e, n, h), y = z.shape, torch.empty_like(z)
    stats = bias.new_empty(e, n, 2)
    p = (bias.contiguous(), gamma.contiguous(), beta.contiguous())
    tensors = (z, *p, y, stats, bias.new_empty(2 * h))
    library.call("bf16_act_ln", torch.float32, e, n, h, relu_units, *tensors)
    return y, stats


def bf16_act_ln_backward(
    dy: Tensor,
    z: Tensor,
    stats: Tensor,
    bias: Tensor,
    gamma: Tensor,
    relu_units: int,
    grads: list[Tensor] | None,
) -> Tensor:
    """See `layers_bfloat16.act_ln_backward`."""
    (e, n, h), dz = z.shape, torch.empty_like(z)
    sums = None if grads is None else [torch.zeros(e, h) for _ in grads]
    dbias, dgamma, dbeta = sums or (None, None, None)
    tensors = (dy, z, stats, bias.contiguous(), gamma.contiguous(), dz, dgamma, dbeta, dbias)
    library.call(
        "bf16_act_ln_backward", torch.float32, e, n, h, relu_units, *tensors, bias.new_empty(4 * h)
    )
    for total, part in zip(grads or [], sums or [], strict=True):
        total.add_(part)
    return dz
