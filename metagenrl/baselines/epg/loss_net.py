"""The evolved loss L_phi of Evolved Policy Gradients (Houthooft et al. 2018, section 4, Fig. 2).

A temporal convolution over the newest experience gives a context; context and one step's features
give that step's loss. Its parameters phi are one flat vector, which evolution strategies move.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from metagenrl.learner.networks.parameters import Layout
from metagenrl.learner.networks.spec import Views

_KERNELS, _STRIDES, _CHANNELS = (6, 4), (5, 2), (16, 32)
_CONTEXT, _HIDDEN = 32, 16
_SLOPE = 0.2  # of leaky ReLU below 0, as in the authors' framework


@dataclass(frozen=True)
class LossNet:
    """The network's input size; everything else about it is fixed."""

    features: int  # F, numbers that describe a step

    @cached_property
    def layout(self) -> Layout:
        """Convolutions, the context's dense layer, then the two layers of a step's loss."""
        (c0, c1), (k0, k1) = _CHANNELS, _KERNELS
        return Layout(
            (
                ("conv0_w", (c0, self.features, k0)),
                ("conv0_b", (c0,)),
                ("conv1_w", (c1, c0, k1)),
                ("conv1_b", (c1,)),
                ("context_w", (_CONTEXT, c1)),
                ("context_b", (_CONTEXT,)),
                ("hidden_w", (_HIDDEN, self.features + _CONTEXT)),
                ("hidden_b", (_HIDDEN,)),
                ("out_w", (1, _HIDDEN)),
                ("out_b", (1,)),
            )
        )

    def context(self, phi: Views, experience: Tensor) -> Tensor:
        """The mean over time of two convolutions, and a dense layer: `[N, F] -> [32]`, N >= 21."""
        x = experience.T[None]  # [1, F, N]
        x = functional.conv1d(x, phi["conv0_w"], phi["conv0_b"], _STRIDES[0])
        x = functional.leaky_relu(x, _SLOPE)
        x = functional.conv1d(x, phi["conv1_w"], phi["conv1_b"], _STRIDES[1])
        x = functional.leaky_relu(x, _SLOPE).mean(dim=(0, 2))  # [32]
        return functional.linear(x, phi["context_w"], phi["context_b"])

    def loss(self, phi: Views, steps: Tensor, context: Tensor) -> Tensor:
        """The mean over steps of a two-layer network of features and context: `[M, F] -> []`."""
        x = torch.cat([steps, context.expand(len(steps), -1)], 1)  # [M, F + 32]
        x = functional.linear(x, phi["hidden_w"], phi["hidden_b"])
        x = functional.leaky_relu(x, _SLOPE)
        return functional.linear(x, phi["out_w"], phi["out_b"]).mean()


def initial_loss_parameters(net: LossNet, generator: torch.Generator) -> Tensor:
    """A flat phi `[P]`: weights N(0, 1 / inputs), biases 0."""
    flat = torch.zeros(net.layout.size)
    for name, view in net.layout.views(flat).items():
        if name.endswith("_w"):
            inputs = math.prod(view.shape[1:])
            view.normal_(0.0, inputs**-0.5, generator=generator)
    return flat
