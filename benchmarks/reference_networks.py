"""Policy, critic and learned objective as plain `torch.nn` modules (sections 3 and 4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metagenrl.learner.hyperparams import ObjectiveConfig
from metagenrl.learner.types import Batch

VARIANCE_FLOOR = 1e-8


def plain_mlp(inputs: int, units: int, hidden_layers: int, outputs: int) -> nn.Sequential:
    """(Linear, ReLU, LayerNorm) `hidden_layers` times, then Linear."""
    layers: list[nn.Module] = []
    for width in [inputs] + [units] * (hidden_layers - 1):
        layers += [nn.Linear(width, units), nn.ReLU(), nn.LayerNorm(units)]
    return nn.Sequential(*layers, nn.Linear(units, outputs))


class Policy(nn.Module):
    """pi_phi(s) = tanh(MLP(s)): `[..., O] -> [..., A]`."""

    def __init__(self, observations: int, actions: int, units: int, hidden_layers: int) -> None:
        super().__init__()
        self.net = plain_mlp(observations, units, hidden_layers, actions)

    def forward(self, s: Tensor) -> Tensor:
        return torch.tanh(self.net(s))


class Critic(nn.Module):
    """Q_theta(s, a): `[..., O], [..., A] -> [...]`."""

    def __init__(self, observations: int, actions: int, units: int, hidden_layers: int) -> None:
        super().__init__()
        self.net = plain_mlp(observations + actions, units, hidden_layers, 1)

    def forward(self, s: Tensor, a: Tensor) -> Tensor:
        return self.net(torch.cat([s, a], -1)).squeeze(-1)


class Mixed(nn.Module):
    """ReLU on half of the units, the square on the other half (B.1)."""

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, -1)
        return torch.cat([torch.relu(first), second.square()], -1)


def mixed_mlp(sizes: list[int], normalized: int, activated: int) -> nn.Sequential:
    """Linear layers between `sizes`; mixed activation after the first `activated` of them.

    The first `normalized` of those have a layer norm as well.
    """
    layers: list[nn.Module] = []
    for i in range(len(sizes) - 1):
        layers.append(nn.Linear(sizes[i], sizes[i + 1]))
        if i < activated:
            layers.append(Mixed())
        if i < normalized:
            layers.append(nn.LayerNorm(sizes[i + 1]))
    return nn.Sequential(*layers)


class PlainObjective(nn.Module):
    """L_alpha (Figure 2, Eq. 7, B.1) in its paper's form."""

    def __init__(self, config: ObjectiveConfig) -> None:
        super().__init__()
        h, f, units = config.hidden_units, config.input_features, config.lstm_units
        self.eta = config.eta
        self.action = mixed_mlp([2, h, h, h], normalized=3, activated=3)
        self.features = mixed_mlp([4, h, h, f], normalized=0, activated=2)
        self.lstm = nn.LSTMCell(h + f, units)
        self.lstm.bias_hh.requires_grad_(False).zero_()  # one bias is enough
        self.head = mixed_mlp([units, h, h, 1], normalized=2, activated=2)

    def forward(self, pi: Tensor, v: Tensor, v_next: Tensor, batch: Batch) -> Tensor:
        """l_t `[B, T]`, 0 on padding, for `pi [B, T, A]` and the constants `v, v_next [B, T]`."""
        mask, steps = batch.mask, pi.shape[1]
        rewards = normalize([batch.rewards], mask)[0]
        v, v_next = normalize([v, v_next], mask)
        time = torch.arange(steps, dtype=pi.dtype).div(max(steps - 1, 1)).expand_as(mask)
        inputs = torch.stack([rewards, time, v_next * (1 - batch.terminated), v], -1)
        pairs = torch.stack([batch.actions, pi], -1)  # [B, T, A, 2]
        x = torch.cat([self.action(pairs).mean(2), self.features(inputs)], -1)
        h = c = torch.zeros(pi.shape[0], self.lstm.hidden_size, dtype=pi.dtype)
        states = []
        for t in reversed(range(steps)):
            h, c = self.lstm(x[:, t], (h, c))
            # Padding comes first in this order and must leave the state at zero.
            h, c = h * mask[:, t, None], c * mask[:, t, None]
            states.append(h)
        out = self.head(torch.stack(states[::-1], 1)).squeeze(-1)
        return self.eta * torch.tanh(out / self.eta) * mask


def normalize(parts: list[Tensor], mask: Tensor) -> list[Tensor]:
    """z-score of all parts together over the valid steps; each `[B, T]`."""
    count = len(parts) * mask.sum()
    mean = sum((x * mask).sum() for x in parts) / count
    variance = sum(((x - mean).square() * mask).sum() for x in parts) / count
    return [(x - mean) / variance.clamp(min=VARIANCE_FLOOR).sqrt() * mask for x in parts]
