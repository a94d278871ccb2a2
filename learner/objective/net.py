"""Architecture of the learned objective L_alpha: its parts, its parameters, its definition.

Figure 2, Eq. 7 and B.1. `apply` is the definition in plain torch, differentiable any number of
times; `derivatives.py` has the hand-written derivatives used in training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from metagenrl.learner.hyperparams import ObjectiveConfig
from metagenrl.learner.networks import layers, mlp
from metagenrl.learner.networks.mlp import MLP, Views
from metagenrl.learner.networks.parameters import Layout
from metagenrl.learner.objective import feature_net
from metagenrl.learner.objective.feature_net import FeatureNet
from metagenrl.learner.objective.features import feature_count
from metagenrl.learner.objective.inputs import ObjectiveInputs

ALPHA_STREAM = 0x6D657461
"""Mixed into the run's seed for alpha's initial value, so that no agent shares its stream."""


@dataclass(frozen=True)
class ObjectiveNet:
    """The parts of L_alpha for one configuration; 15 497 parameters at the paper's sizes."""

    config: ObjectiveConfig

    @cached_property
    def action(self) -> MLP:
        """Embeds each action dimension's pair (a_t, pi(s_t)): 2 -> 32 -> 32 -> 32.

        The variant that sees dQ/da has it as a third number.
        """
        units = self.config.hidden_units
        return MLP(2 + self.config.use_critic_direction, units, 3, 0, units // 2)

    @cached_property
    def features(self) -> FeatureNet:
        """Embeds (r_t, t, V_{t+1}, V_t): 4 -> 32 -> 32 -> 8."""
        c = self.config
        return FeatureNet(feature_count(c), c.hidden_units, c.input_features)

    @cached_property
    def observation(self) -> FeatureNet:
        """Embeds each observation dimension on its own: 1 -> 32 -> 32 -> 8, then the mean."""
        return FeatureNet(1, self.config.hidden_units, self.config.input_features)

    @cached_property
    def head(self) -> MLP:
        """The LSTM's output to one number: 32 -> 32 -> 32 -> 1."""
        units = self.config.hidden_units
        width = self.config.lstm_units * (2 if self.config.bidirectional else 1)
        return MLP(width, units, 2, 1, units // 2)

    @property
    def lstm_names(self) -> tuple[tuple[str, bool], ...]:
        """Prefix and direction (True: backwards in time) of each LSTM."""
        both = (("lstm", True), ("lstm_forward", False))
        return both if self.config.bidirectional else both[:1]

    @cached_property
    def layout(self) -> Layout:
        """All parameters; names are `part/tensor`."""
        c = self.config
        constants = c.input_features * (2 if c.use_observation else 1)
        parts: list[tuple[str, Layout]] = [
            ("action", self.action.layout),
            ("features", self.features.layout),
        ]
        if c.use_observation:
            parts.append(("observation", self.observation.layout))
        lstm = Layout(
            (
                ("w_action", (c.hidden_units, 4 * c.lstm_units)),
                ("w_constant", (constants, 4 * c.lstm_units)),
                ("w_recurrent", (c.lstm_units, 4 * c.lstm_units)),
                ("b", (4 * c.lstm_units,)),
            )
        )
        parts += [(name, lstm) for name, _ in self.lstm_names]
        parts.append(("head", self.head.layout))
        return Layout(tuple((f"{p}/{n}", s) for p, layout in parts for n, s in layout.shapes))

    def part(self, views: Views, prefix: str) -> Views:
        """The views of one part, by their short names."""
        return {k[len(prefix) + 1 :]: v for k, v in views.items() if k.startswith(prefix + "/")}


def initial_alpha(config: ObjectiveConfig, generator: torch.Generator) -> Tensor:
    """Flat alpha `[P]`: Glorot-uniform weights, zero biases, forget bias 1, unit gammas."""
    layout = ObjectiveNet(config).layout
    flat = torch.zeros(layout.size, dtype=torch.float32, device="cpu")
    for name, view in layout.views(flat).items():
        kind = name.split("/")[1]
        if kind.startswith("gamma"):
            view.fill_(1.0)
        elif kind.startswith("w"):
            bound = math.sqrt(6.0 / (view.shape[0] + view.shape[1]))
            view.uniform_(-bound, bound, generator=generator)
        elif name.startswith("lstm"):
            view[config.lstm_units : 2 * config.lstm_units] = 1.0
    return flat


def action_rows(
    inputs: ObjectiveInputs, actions: Tensor, pi: Tensor, direction: Tensor | None
) -> Tensor:
    """Input of the action network, `[1, B T A, 2 or 3]`, reflected where the variant does so."""
    parts = [actions, pi] if direction is None else [actions, pi, direction]
    rows = torch.stack([inputs.reflect(part) for part in parts], -1)
    return rows.reshape(1, -1, len(parts))


def constants(net: ObjectiveNet, views: Views, inputs: ObjectiveInputs) -> Tensor:
    """Embedding of everything but the actions: `[B, T, C]`, differentiable in alpha."""
    b, t = inputs.mask.shape
    rows = inputs.features.reshape(b * t, -1)
    parts = [feature_net.apply(net.features, net.part(views, "features"), rows)[0]]
    if inputs.observations is not None:
        size = inputs.observations.shape[-1]
        single = inputs.observations.reshape(b * t * size, 1)
        encoded, _ = feature_net.apply(net.observation, net.part(views, "observation"), single)
        parts.append(encoded.view(b * t, size, -1).mean(1))
    return torch.cat(parts, -1).view(b, t, -1)


def apply(net: ObjectiveNet, alpha: Tensor, pi: Tensor, inputs: ObjectiveInputs) -> Tensor:
    """l_t = eta tanh(x_t / eta) (Eq. 7 and B.1): `pi [B, T, A] -> [B, T]`, 0 on padding.

    L_alpha is the sum. Permuting the action dimensions leaves it unchanged; its number of
    parameters does not depend on them.
    """
    views = net.layout.views(alpha)
    b, t, a = pi.shape
    action = {k: v.unsqueeze(0) for k, v in net.part(views, "action").items()}
    pairs = action_rows(inputs, inputs.actions, pi, inputs.direction)
    embedded = mlp.apply(net.action, action, pairs).view(b, t, a, -1).mean(2)
    constant = constants(net, views, inputs)
    states = []
    for name, reverse in net.lstm_names:
        p = net.part(views, name)
        x = embedded @ p["w_action"] + constant @ p["w_constant"] + p["b"]
        states.append(layers.lstm(x, p["w_recurrent"], inputs.mask, reverse)[0])
    head = {k: v.unsqueeze(0) for k, v in net.part(views, "head").items()}
    x = mlp.apply(net.head, head, torch.cat(states, -1).view(1, b * t, -1)).view(b, t)
    eta = net.config.eta
    return eta * torch.tanh(x / eta) * inputs.mask


def first_alpha(config: ObjectiveConfig, seed: int) -> torch.Tensor:
    """The objective's parameters before meta-training, version 0: flat `[P_alpha]`."""
    generator = torch.Generator().manual_seed(seed ^ ALPHA_STREAM)
    return initial_alpha(config, generator)
