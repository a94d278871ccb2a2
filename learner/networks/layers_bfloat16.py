"""Activation and layer norm on bfloat16 tensors, in plain torch: `layers.py` between two roundings.

Statistics, parameters and their gradients are float32.
"""

from __future__ import annotations

from torch import Tensor

from metagenrl.learner.networks import layers


def act_ln(
    z: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, relu_units: int
) -> tuple[Tensor, Tensor]:
    """`layers.act_ln` for bfloat16 `z`: y in bfloat16 and its statistics."""
    _, y, stats = layers.act_ln(z.float(), bias, gamma, beta, relu_units)
    return y.bfloat16(), stats


def act_ln_backward(
    dy: Tensor,
    z: Tensor,
    stats: Tensor,
    bias: Tensor,
    gamma: Tensor,
    relu_units: int,
    grads: list[Tensor] | None,
) -> Tensor:
    """`layers.act_ln_backward` for bfloat16 `dy` and `z` (without its bias)."""
    pre = z.float() + bias.unsqueeze(-2)
    wide = layers.act_ln_backward(dy.float(), pre, stats, gamma, relu_units, grads)
    return wide.bfloat16()
