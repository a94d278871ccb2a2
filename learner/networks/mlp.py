"""Multi-layer perceptrons with layer norm: policy, critics and the parts of the objective.

`hidden_layers` times (linear, activation, layer norm), then a linear output layer. ReLU then
layer norm for policy and critics (section 4); ReLU on half of the units and the square on the
other half for the objective (B.1). Every network is an ensemble of `E` members with its own
leading dimension (one policy, two critics): `x [E, N, inputs] -> [E, N, outputs]`.

`apply` is the definition, differentiable by torch. `forward`, `backward`, `parameter_tangent`,
`input_tangent` and `dual_backward` are the same function and its hand-written derivatives; they
need `torch.no_grad()`. In plain torch they stand in `mlp_reference.py`; which other form computes
them is for `native/forms.py` to say.
"""

from __future__ import annotations

from types import ModuleType

from torch import Tensor

from metagenrl.learner.native import forms, mlp_small, mlp_wide
from metagenrl.learner.native.mlp_small import FusedTangentTape, FusedTape
from metagenrl.learner.native.mlp_wide import WideTape
from metagenrl.learner.networks import layers, mlp_bfloat16, mlp_reference
from metagenrl.learner.networks.mlp_bfloat16 import MixedTape
from metagenrl.learner.networks.mlp_reference import LayerTangentTape, LayerTape
from metagenrl.learner.networks.spec import MLP, Views

__all__ = ["MLP", "TangentTape", "Tape", "Views", "apply", "backward", "dual_backward", "forward"]

Tape = FusedTape | LayerTape | MixedTape | WideTape
TangentTape = FusedTangentTape | LayerTangentTape

_OF_TAPE: dict[type[Tape], ModuleType] = {
    FusedTape: mlp_small,
    LayerTape: mlp_reference,
    MixedTape: mlp_bfloat16,
    WideTape: mlp_wide,
}
"""The file that left a tape has the derivatives, too."""


def apply(net: MLP, p: Views, x: Tensor) -> Tensor:
    """The network in plain torch: `x [E, N, inputs] -> [E, N, outputs]`."""
    for i in range(net.hidden_layers):
        z = x @ p[f"w{i}"]
        _, x, _ = layers.act_ln(z, p[f"b{i}"], p[f"gamma{i}"], p[f"beta{i}"], net.relu_units)
    return x @ p["w_out"] + p["b_out"].unsqueeze(-2) if net.outputs else x


def forward(net: MLP, p: Views, x: Tensor) -> tuple[Tensor, Tape]:
    """`apply` by hand, and its tape. `x [1 or E, N, inputs]`: one input for all, or one each."""
    made: tuple[Tensor, Tape] = forms.of_network(net, p, x).forward(net, p, x)
    return made


def evaluate(net: MLP, p: Views, x: Tensor) -> Tensor:
    """`forward` for its value only, which need not be kept for derivatives."""
    form = forms.of_network(net, p, x)
    return mlp_wide.evaluate(net, p, x) if form is mlp_wide else form.forward(net, p, x)[0]


def backward(
    net: MLP, p: Views, tape: Tape, dy: Tensor, grads: Views | None, want_input: bool = False
) -> Tensor | None:
    """Adjoint of `forward`.

    Args:
        dy: adjoint of the output, `[E, N, outputs]`.
        grads: views of a flat vector that the parameters' gradients are written to, or None.
        want_input: return the adjoint of the input, `[E, N, inputs]`.
    """
    dx: Tensor | None = _OF_TAPE[type(tape)].backward(net, p, tape, dy, grads, want_input)
    return dx


def parameter_tangent(net: MLP, p: Views, v: Views, tape: Tape) -> Tensor:
    """Forward mode: the output's derivative along the direction `v` of the parameters."""
    yd: Tensor = _OF_TAPE[type(tape)].parameter_tangent(net, p, v, tape)
    return yd


def input_tangent(net: MLP, p: Views, tape: Tape, xd: Tensor) -> tuple[Tensor, TangentTape]:
    """Forward mode along the tangent `xd [E, N, inputs]` of the input."""
    made: tuple[Tensor, TangentTape] = _OF_TAPE[type(tape)].input_tangent(net, p, tape, xd)
    return made


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
    form = _OF_TAPE[type(tape)]
    dx: tuple[Tensor, Tensor] | None = form.dual_backward(
        net, p, tape, tangents, ay, ayd, grads, want_input
    )
    return dx
