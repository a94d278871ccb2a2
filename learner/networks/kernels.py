"""Activation, layer norm and LSTM as updates call them: in C where it was built, else plain torch.

The plain forms are in `layers.py`. C takes what lies on the CPU while no graph is being recorded,
which only the call can tell; it is asked here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from torch import Tensor

from metagenrl.learner.native import layers as native
from metagenrl.learner.native import library
from metagenrl.learner.networks import layers, layers_bfloat16

P = ParamSpec("P")
T = TypeVar("T")
Kernel = Callable[Concatenate[Tensor, P], T]


def _either(plain: Kernel[P, T], in_c: Kernel[P, T]) -> Kernel[P, T]:
    def kernel(x: Tensor, /, *rest: P.args, **named: P.kwargs) -> T:
        return (in_c if library.usable(x) else plain)(x, *rest, **named)

    return kernel


act_ln = _either(layers.act_ln, native.act_ln)
act_ln_backward = _either(layers.act_ln_backward, native.act_ln_backward)
act_ln_tangent = _either(layers.act_ln_tangent, native.act_ln_tangent)
act_ln_dual_backward = _either(layers.act_ln_dual_backward, native.act_ln_dual_backward)
bf16_act_ln = _either(layers_bfloat16.act_ln, native.bf16_act_ln)
bf16_act_ln_backward = _either(layers_bfloat16.act_ln_backward, native.bf16_act_ln_backward)
lstm = _either(layers.lstm, native.lstm)
lstm_tangent = _either(layers.lstm_tangent, native.lstm_tangent)
lstm_backward = _either(layers.lstm_backward, native.lstm_backward)
lstm_dual_backward = _either(layers.lstm_dual_backward, native.lstm_dual_backward)
