"""A kept policy as a torch module."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from metagenrl.base.messages import Array
from metagenrl.learner.networks.layers import LAYER_NORM_EPS
from metagenrl.policies.kept import KeptPolicy


class PolicyNetwork(nn.Module):
    """pi(s): `[N, O] -> [N, A]` in [-1, 1], deterministic."""

    def __init__(self, policy: KeptPolicy) -> None:
        super().__init__()
        self.hidden = policy.hidden
        self.normalized = "gamma0" in policy.arrays
        self.filtered = "filter_mean" in policy.arrays
        for name, array in policy.arrays.items():
            self.register_buffer(name, torch.from_numpy(array.copy()))

    def forward(self, s: Tensor) -> Tensor:
        """The actions."""
        x = self._filter(s) if self.filtered else s
        for i in range(self.hidden):
            x = x @ self.get_buffer(f"w{i}") + self.get_buffer(f"b{i}")
            x = self._normalize(x.relu(), i) if self.normalized else x.tanh()
        x = x @ self.get_buffer("w_out") + self.get_buffer("b_out")
        return x.tanh() if self.normalized else x.clamp(-1.0, 1.0)

    def _filter(self, s: Tensor) -> Tensor:
        x = (s - self.get_buffer("filter_mean")) / self.get_buffer("filter_std")
        bound = self.get_buffer("filter_bound")
        return torch.minimum(torch.maximum(x, -bound), bound).to(s.dtype)

    def _normalize(self, x: Tensor, layer: int) -> Tensor:
        gamma, beta = self.get_buffer(f"gamma{layer}"), self.get_buffer(f"beta{layer}")
        wide = x.double()  # as while training: squares of what is beyond 1e19 overflow float32
        wide = functional.layer_norm(
            wide, gamma.shape, gamma.double(), beta.double(), LAYER_NORM_EPS
        )
        return wide.to(x.dtype)


def acting(policy: KeptPolicy) -> Callable[[Array], Array]:
    """The policy for one observation: `[O] -> [A]`, in [-1, 1]."""
    network = PolicyNetwork(policy)

    @torch.no_grad()
    def act(observation: Array) -> Array:
        own = torch.from_numpy(np.asarray(observation, np.float32))  # MuJoCo's are float64
        action: Array = network(own[None])[0].numpy()
        return action

    return act
