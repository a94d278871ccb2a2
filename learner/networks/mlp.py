"""Multi-layer perceptrons with layer norm: policy, critics and the parts of the objective.

`hidden_layers` times (linear, activation, layer norm), then a linear output layer. ReLU then
layer norm for policy and critics (section 4); ReLU on half of the units and the square on the
other half for the objective (B.1). Every network is an ensemble of `E` members with its own
leading dimension (one policy, two critics): `x [E, N, inputs] -> [E, N, outputs]`.

`apply` is the definition, differentiable by torch. `forward`, `backward`, `parameter_tangent`,
`input_tangent` and `dual_backward` are the same function and its hand-written derivatives; they
need `torch.no_grad()`. Small networks run as one C call each (`mlp_small.py`), where Python and
memory traffic would cost more than the arithmetic; wide ones do so where the processor has AVX-512
(`mlp_wide.py`), and elsewhere run layer by layer on the BLAS (`mlp_reference.py`), where `bf16`
allows it in bfloat16 (`mlp_bfloat16.py`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from metagenrl.learner.hyperparams import NATIVE_UNITS
from metagenrl.learner.native import library, mlp_small, mlp_wide
from metagenrl.learner.native.mlp_small import FusedTangentTape, FusedTape
from metagenrl.learner.native.mlp_wide import WideTape
from metagenrl.learner.networks import layers, mlp_bfloat16, mlp_reference
from metagenrl.learner.networks.mlp_bfloat16 import MixedTape
from metagenrl.learner.networks.mlp_reference import LayerTangentTape, LayerTape
from metagenrl.learner.networks.spec import MLP, Views

__all__ = ["MLP", "TangentTape", "Tape", "Views", "apply", "backward", "dual_backward", "forward"]

Tape = FusedTape | LayerTape | MixedTape | WideTape
TangentTape = FusedTangentTape | LayerTangentTape


def apply(net: MLP, p: Views, x: Tensor) -> Tensor:
    """The network in plain torch: `x [E, N, inputs] -> [E, N, outputs]`."""
    for i in range(net.hidden_layers):
        z = x @ p[f"w{i}"]
        _, x, _ = layers.act_ln(z, p[f"b{i}"], p[f"gamma{i}"], p[f"beta{i}"], net.relu_units)
    return x @ p["w_out"] + p["b_out"].unsqueeze(-2) if net.outputs else x


def fused(net: MLP, p: Views) -> bool:
    """Whether the network runs as one C call (`mlp_small.py`)."""
    return net.hidden_layers > 0 and net.hidden_units <= NATIVE_UNITS and library.usable(p["w0"])


def forward(net: MLP, p: Views, x: Tensor) -> tuple[Tensor, Tape]:
    """`apply` by hand, and its tape. `x [1 or E, N, inputs]`: one input for all, or one each."""
    if fused(net, p):
        return mlp_small.forward(net, p, x)
    if mlp_wide.takes(net, x):
        return mlp_wide.forward(net, p, x)
    if net.bf16 and x.dtype == torch.float32:
        return mlp_bfloat16.forward(net, p, x)
    return mlp_reference.forward(net, p, x)


def evaluate(net: MLP, p: Views, x: Tensor) -> Tensor:
    """`forward` for its value only, which need not be kept for derivatives."""
    if net.outputs and not fused(net, p) and mlp_wide.takes(net, x):
        return mlp_wide.evaluate(net, p, x)
    return forward(net, p, x)[0]


def backward(
    net: MLP, p: Views, tape: Tape, dy: Tensor, grads: Views | None, want_input: bool = False
) -> Tensor | None:
    """Adjoint of `forward`.

    Args:
        dy: adjoint of the output, `[E, N, outputs]`.
        grads: views of a flat vector that the parameters' gradients are written to, or None.
        want_input: return the adjoint of the input, `[E, N, inputs]`.
    """
    if isinstance(tape, WideTape):
        return mlp_wide.backward(net, p, tape, dy, grads, want_input)
    if isinstance(tape, FusedTape):
        return mlp_small.backward(net, p, tape, dy, grads, want_input)
    if isinstance(tape, MixedTape):
        return mlp_bfloat16.backward(net, p, tape, dy, grads, want_input)
    return mlp_reference.backward(net, p, tape, dy, grads, want_input)


def parameter_tangent(net: MLP, p: Views, v: Views, tape: Tape) -> Tensor:
    """Forward mode: the output's derivative along the direction `v` of the parameters."""
    if isinstance(tape, WideTape):
        return mlp_wide.parameter_tangent(net, p, v, tape)
    if isinstance(tape, FusedTape):
        return mlp_small.parameter_tangent(net, p, v, tape)
    assert isinstance(tape, LayerTape)
    return mlp_reference.parameter_tangent(net, p, v, tape)


def input_tangent(net: MLP, p: Views, tape: Tape, xd: Tensor) -> tuple[Tensor, TangentTape]:
    """Forward mode along the tangent `xd [E, N, inputs]` of the input."""
    if isinstance(tape, FusedTape):
        return mlp_small.input_tangent(net, p, tape, xd)
    assert isinstance(tape, LayerTape)
    return mlp_reference.input_tangent(net, p, tape, xd)


def dual_backward(
    net: MLP,
    p: Views,
    tape: Tape,
    tangents: TangentTape,
    ay: Tensor | None,
    ayd: Tensor,
    grads: Views,
    want_input: bool = False,
) -> tuple[Tensor, Tensor] | None:
    """Adjoint of (forward, input_tangent): writes the parameters' gradients to `grads`.

    `ay` and `ayd` are the adjoints of the output and of its tangent (`ay` None: zero). Returns
    the adjoints of the input and its tangent where `want_input`.
    """
    if isinstance(tape, FusedTape):
        assert isinstance(tangents, FusedTangentTape)
        return mlp_small.dual_backward(net, p, tape, tangents, ay, ayd, grads, want_input)
    assert isinstance(tape, LayerTape)
    assert isinstance(tangents, LayerTangentTape)
    return mlp_reference.dual_backward(net, p, tape, tangents, ay, ayd, grads, want_input)
