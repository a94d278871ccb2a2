"""Policy and critic of an agent (section 4): sizes, initial parameters, and their functions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from metagenrl.learner.hyperparams import AgentConfig
from metagenrl.learner.networks import mlp
from metagenrl.learner.networks.mlp import MLP, Views


@dataclass(frozen=True)
class AgentNetworks:
    """Sizes of one agent's policy `pi_phi(s)` and critics `Q_theta(s, a)`."""

    policy: MLP
    critic: MLP
    critics: int  # members of the critic's ensemble: 2 for clipped double-Q
    mixed: bool = False  # 8 bits of a factor where that is harmless (see `outer`), 16 elsewhere

    @cached_property
    def outer(self) -> AgentNetworks:
        """The same networks where bfloat16 may be used (section 6).

        That is the critic's update and the value of the updated policy, the outer half of the
        meta-gradient.
        """
        if not self.mixed:
            return self
        policy, critic = (replace(x, bf16=True, terms=1) for x in (self.policy, self.critic))
        return AgentNetworks(policy, critic, self.critics)

    @staticmethod
    def of(config: AgentConfig, observation_size: int, action_size: int) -> AgentNetworks:
        """The networks of Table 3 for an environment's sizes."""
        units, layers = config.hidden_units, config.hidden_layers
        mixed = config.precision == "mixed"
        terms: Literal[2, 3] = 2 if mixed else 3
        return AgentNetworks(
            MLP(observation_size, units, layers, action_size, units, terms=terms),
            MLP(observation_size + action_size, units, layers, 1, units, terms=terms),
            2 if config.twin_critics else 1,
            mixed,
        )


def initial_parameters(net: MLP, members: int, generator: torch.Generator) -> Tensor:
    """Flat parameters `[members, size]`: Glorot-uniform weights, zero biases, unit gammas."""
    flat = torch.zeros(members, net.layout.size)
    for name, view in net.layout.views(flat).items():
        if name.startswith("gamma"):
            view.fill_(1.0)
        elif name.startswith("w"):
            bound = math.sqrt(6.0 / (view.shape[-2] + view.shape[-1]))
            view.uniform_(-bound, bound, generator=generator)
    return flat


def apply_policy(net: MLP, phi: Views, s: Tensor) -> Tensor:
    """pi_phi(s) = tanh(MLP(s)): `[..., O] -> [..., A]`, in plain torch."""
    rows = s.reshape(1, -1, s.shape[-1])
    return mlp.apply(net, phi, rows).tanh().reshape(*s.shape[:-1], net.outputs)


def apply_critic(net: MLP, theta: Views, s: Tensor, a: Tensor) -> Tensor:
    """Q_theta(s, a) of every member: `[..., O], [..., A] -> [E, ...]`, in plain torch."""
    rows = torch.cat([s, a], -1).reshape(1, -1, s.shape[-1] + a.shape[-1])
    members = theta["b_out"].shape[0]
    return mlp.apply(net, theta, rows.expand(members, -1, -1)).reshape(members, *s.shape[:-1])
