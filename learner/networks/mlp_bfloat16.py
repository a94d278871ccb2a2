"""Multi-layer perceptrons with bfloat16 matrix products, for wide networks.

Products and what lies between them are in bfloat16, sums inside products, layer norm, parameters
and their gradients in float32. Allowed for the critic's update and for the outer half of the
meta-gradient only: in the inner half it makes the meta-gradient useless (section 6).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metagenrl.learner.networks import kernels
from metagenrl.learner.networks.spec import MLP, Views


@dataclass(frozen=True)
class MixedTape:
    """The values that `forward` leaves for `backward`; bfloat16 but for `stats`."""

    weights: dict[str, Tensor]  # the parameters' matrices
    inputs: list[Tensor]  # [E, N, width] of each layer
    pre: list[Tensor]  # [E, N, H], the products without their bias
    stats: list[Tensor]  # [E, N, 2] of layer norm, float32


def forward(net: MLP, p: Views, x: Tensor) -> tuple[Tensor, MixedTape]:
    """See `mlp.forward`; takes and returns float32."""
    weights = {name: v.bfloat16() for name, v in p.items() if name.startswith("w")}
    tape = MixedTape(weights, [], [], [])
    x = x.bfloat16().expand(next(iter(p.values())).shape[0], -1, -1)
    for i in range(net.hidden_layers):
        tape.inputs.append(x)
        z = torch.bmm(x, weights[f"w{i}"])
        x, stats = kernels.bf16_act_ln(z, p[f"b{i}"], p[f"gamma{i}"], p[f"beta{i}"], net.relu_units)
        tape.pre.append(z)
        tape.stats.append(stats)
    tape.inputs.append(x)
    return torch.bmm(x, weights["w_out"]).float().add_(p["b_out"].unsqueeze(-2)), tape


def backward(
    net: MLP, p: Views, tape: MixedTape, dy: Tensor, grads: Views | None, want_input: bool = False
) -> Tensor | None:
    """See `mlp.backward`; takes and returns float32."""
    d = dy.bfloat16()
    if grads is not None:
        grads["w_out"].copy_(torch.bmm(tape.inputs[-1].mT, d))
        torch.sum(dy, -2, out=grads["b_out"])
    d = torch.bmm(d, tape.weights["w_out"].mT)
    for i in reversed(range(net.hidden_layers)):
        sums = None
        if grads is not None:
            sums = [grads[f"{name}{i}"].zero_() for name in ("b", "gamma", "beta")]
        d = kernels.bf16_act_ln_backward(
            d, tape.pre[i], tape.stats[i], p[f"b{i}"], p[f"gamma{i}"], net.relu_units, sums
        )
        if grads is not None:
            grads[f"w{i}"].copy_(torch.bmm(tape.inputs[i].mT, d))
        if i or want_input:
            d = torch.bmm(d, tape.weights[f"w{i}"].mT)
    return d.float() if want_input else None
