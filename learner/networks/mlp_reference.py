"""Multi-layer perceptrons layer by layer, with hand-written derivatives: products and `kernels.py`.

On any device, and of K agents at once, who are members of one ensemble.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metagenrl.learner.networks import kernels, layers
from metagenrl.learner.networks.spec import MLP, Views


@dataclass(frozen=True)
class LayerTape:
    """The values that `forward` leaves for the derivatives."""

    inputs: list[Tensor]  # [E, N, width] of each layer
    pre: list[Tensor]  # [E, N, H] before the activation
    stats: list[Tensor]  # [E, N, 2] of layer norm


def forward(net: MLP, p: Views, x: Tensor) -> tuple[Tensor, LayerTape]:
    """`mlp.apply`, and its tape."""
    tape = LayerTape([], [], [])
    x = x.expand(next(iter(p.values())).shape[0], -1, -1)
    for i in range(net.hidden_layers):
        tape.inputs.append(x)
        z, x, stats = kernels.act_ln(
            torch.bmm(x, p[f"w{i}"]), p[f"b{i}"], p[f"gamma{i}"], p[f"beta{i}"], net.relu_units
        )
        tape.pre.append(z)
        tape.stats.append(stats)
    if net.outputs:
        tape.inputs.append(x)
        x = torch.baddbmm(p["b_out"].unsqueeze(-2), x, p["w_out"])
    return x, tape


def backward(
    net: MLP, p: Views, tape: LayerTape, dy: Tensor, grads: Views | None, want_input: bool = False
) -> Tensor | None:
    """Adjoint of `forward`: writes the parameters' gradients to `grads` if given.

    Args:
        dy: adjoint of the output, `[E, N, outputs]`.
        grads: views of a flat vector to write to (not added to), or None.
        want_input: return the adjoint of the input `[E, N, inputs]`.
    """
    if net.outputs:
        if grads is not None:
            grads["w_out"].copy_(torch.bmm(tape.inputs[-1].mT, dy))
            grads["b_out"].copy_(dy.sum(-2))
        dy = torch.bmm(dy, p["w_out"].mT)
    for i in reversed(range(net.hidden_layers)):
        sums = None
        if grads is not None:
            sums = [grads[f"{name}{i}"].zero_() for name in ("b", "gamma", "beta")]
        stats, gamma = tape.stats[i], p[f"gamma{i}"]
        dz = kernels.act_ln_backward(dy, tape.pre[i], stats, gamma, net.relu_units, sums)
        if grads is not None:
            grads[f"w{i}"].copy_(torch.bmm(tape.inputs[i].mT, dz))
        if i or want_input:
            dy = torch.bmm(dz, p[f"w{i}"].mT)
    return dy if want_input else None


def parameter_tangent(net: MLP, p: Views, v: Views, tape: LayerTape) -> Tensor:
    """Forward mode: the output's derivative along the direction `v` of the parameters."""
    xd: Tensor | None = None
    for i in range(net.hidden_layers):
        zd = torch.baddbmm(v[f"b{i}"].unsqueeze(-2), tape.inputs[i], v[f"w{i}"])
        if xd is not None:
            zd.baddbmm_(xd, p[f"w{i}"])
        stats, gamma = tape.stats[i], p[f"gamma{i}"]
        xd = kernels.act_ln_tangent(zd, tape.pre[i], stats, gamma, net.relu_units)
        # layer norm's own parameters move too: + gamma' xhat + beta', with y = gamma xhat + beta
        xhat = _xhat(net, tape, i)
        xd.addcmul_(xhat, v[f"gamma{i}"].unsqueeze(-2)).add_(v[f"beta{i}"].unsqueeze(-2))
    out = torch.baddbmm(v["b_out"].unsqueeze(-2), tape.inputs[-1], v["w_out"])
    return out if xd is None else out.baddbmm_(xd, p["w_out"])


def _xhat(net: MLP, tape: LayerTape, layer: int) -> Tensor:
    u = layers.activate(tape.pre[layer], net.relu_units)
    stats = tape.stats[layer]
    return u.sub_(stats[..., :1]).mul_(stats[..., 1:])


@dataclass(frozen=True)
class LayerTangentTape:
    """The values that `input_tangent` leaves for `dual_backward`."""

    inputs: list[Tensor]  # tangent of each layer's input
    pre: list[Tensor]  # tangent before the activation


def input_tangent(
    net: MLP, p: Views, tape: LayerTape, xd: Tensor
) -> tuple[Tensor, LayerTangentTape]:
    """Forward mode along the tangent `xd [E, N, inputs]` of the input."""
    tangents = LayerTangentTape([], [])
    for i in range(net.hidden_layers):
        tangents.inputs.append(xd)
        zd = torch.bmm(xd, p[f"w{i}"])
        tangents.pre.append(zd)
        xd = kernels.act_ln_tangent(zd, tape.pre[i], tape.stats[i], p[f"gamma{i}"], net.relu_units)
    if net.outputs:
        tangents.inputs.append(xd)
        xd = torch.bmm(xd, p["w_out"])
    return xd, tangents


def dual_backward(
    net: MLP,
    p: Views,
    tape: LayerTape,
    tangents: LayerTangentTape,
    ay: Tensor | None,
    ayd: Tensor,
    grads: Views,
    want_input: bool = False,
) -> tuple[Tensor, Tensor] | None:
    """Adjoint of (forward, input_tangent): writes the parameters' gradients to `grads`.

    `ay` and `ayd` are the adjoints of the output and of its tangent (`ay` None: zero). Returns
    the adjoints of the input and its tangent where `want_input`.
    """
    if net.outputs:
        x, xd = tape.inputs[-1], tangents.inputs[-1]
        grads["w_out"].copy_(torch.bmm(xd.mT, ayd))
        if ay is None:
            grads["b_out"].zero_()
            ay = torch.zeros_like(x)
        else:
            grads["w_out"].baddbmm_(x.mT, ay)
            grads["b_out"].copy_(ay.sum(-2))
            ay = torch.bmm(ay, p["w_out"].mT)
        ayd = torch.bmm(ayd, p["w_out"].mT)
    assert ay is not None
    for i in reversed(range(net.hidden_layers)):
        sums = [grads[f"{name}{i}"].zero_() for name in ("b", "gamma", "beta")]
        gamma = p[f"gamma{i}"]
        az, azd = kernels.act_ln_dual_backward(
            ay, ayd, tape.pre[i], tangents.pre[i], tape.stats[i], gamma, net.relu_units, sums
        )
        grads[f"w{i}"].copy_(torch.bmm(tape.inputs[i].mT, az))
        grads[f"w{i}"].baddbmm_(tangents.inputs[i].mT, azd)
        if i or want_input:
            ay, ayd = torch.bmm(az, p[f"w{i}"].mT), torch.bmm(azd, p[f"w{i}"].mT)
    return (ay, ayd) if want_input else None
