"""What a multi-layer perceptron is: its sizes and the layout of its parameters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from torch import Tensor

from metagenrl.learner.networks.parameters import Layout

Views = dict[str, Tensor]


@dataclass(frozen=True)
class MLP:
    """Sizes of a network; `outputs = 0` leaves the output layer out."""

    inputs: int
    hidden_units: int
    hidden_layers: int
    outputs: int
    relu_units: int
    """Units with ReLU; the others square."""
    bf16: bool = False
    """Where there is no matrix unit, wide networks compute in bfloat16 (see `mlp_bfloat16.py`)."""
    terms: Literal[1, 2, 3] = 3
    """bfloat16 terms of a float32 that a matrix unit multiplies: 3, all of it; 2, 16 bits; 1, 8."""

    @cached_property
    def layout(self) -> Layout:
        """`w{i} [in, out]`, `b{i}`, `gamma{i}`, `beta{i}` per hidden layer, then `w_out, b_out`."""
        shapes: list[tuple[str, tuple[int, ...]]] = []
        width = self.inputs
        for i in range(self.hidden_layers):
            shapes += [(f"w{i}", (width, self.hidden_units))]
            shapes += [(f"{name}{i}", (self.hidden_units,)) for name in ("b", "gamma", "beta")]
            width = self.hidden_units
        if self.outputs:
            shapes += [("w_out", (width, self.outputs)), ("b_out", (self.outputs,))]
        return Layout(tuple(shapes))
