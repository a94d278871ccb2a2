"""Adam and gradient clipping for K agents at once: each has its own step count and norm."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


class StackedAdam:
    """`Adam` on `parameters [K, ...]`; an agent that takes no part is left as it was.

    Step counts are tensors, so that a CUDA graph can hold a step. They and the bias corrections
    are float64: `1 - 0.999 ** t` has four digits in float32 while t is small.
    """

    def __init__(
        self,
        parameters: Tensor,
        learning_rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
    ) -> None:
        self.parameters, self.learning_rate = parameters, learning_rate
        self.betas, self.epsilon = betas, epsilon
        self.m, self.v = torch.zeros_like(parameters), torch.zeros_like(parameters)
        self.t = torch.zeros(len(parameters), dtype=torch.float64, device=parameters.device)

    def step(self, gradient: Tensor, active: Tensor) -> None:
        """Update the parameters of the agents in `active [K]` (bool) along `gradient`."""
        b1, b2 = self.betas
        self.t.add_(active)
        # An agent that has never taken part has t = 0; its 0 / 0 is not used.
        first, second = (self._each(1 - b**self.t) for b in self.betas)
        m = torch.lerp(self.m, gradient, 1 - b1)
        v = torch.addcmul(self.v * b2, gradient, gradient, value=1 - b2)
        denominator = v.sqrt() / second.sqrt() + self.epsilon
        step = m / denominator * (-self.learning_rate / first)
        chosen = expand(active, gradient)
        keep(self.parameters, self.parameters + step, chosen)
        keep(self.m, m, chosen)
        keep(self.v, v, chosen)

    def advance(self, agent: int) -> tuple[float, float, float, float, float]:
        """Count a step of one agent; see `Adam.advance`."""
        self.t[agent] += 1
        (b1, b2), t = self.betas, int(self.t[agent])
        correction = math.sqrt(1 - b2**t)
        return b1, b2, self.epsilon, self.learning_rate / (1 - b1**t), correction

    def _each(self, x: Tensor) -> Tensor:
        return expand(x.to(self.parameters.dtype), self.parameters)

    def state_dict(self, agent: int) -> dict[str, Any]:
        """One agent's state, as of `Adam.state_dict`."""
        return {
            "m": self.m[agent].cpu().numpy().copy(),
            "v": self.v[agent].cpu().numpy().copy(),
            "t": int(self.t[agent]),
        }

    def load_state_dict(self, agent: int, state: dict[str, Any]) -> None:
        """Restore one agent; raises `RuntimeError` where a size differs."""
        for own, name in ((self.m, "m"), (self.v, "v")):
            own[agent].copy_(torch.tensor(state[name]).view_as(own[agent]))
        self.t[agent] = state["t"]


def expand(per_agent: Tensor, like: Tensor) -> Tensor:
    """`[K]` as a tensor that broadcasts with `like [K, ...]`."""
    return per_agent.view(-1, *[1] * (like.dim() - 1))


def follow(target: Tensor, own: Tensor, rate: float, active: Tensor) -> None:
    """Targets `[K, ...]` of the agents in `active [K]` follow with the Polyak rate."""
    keep(target, torch.lerp(target, own, rate), expand(active, own))


def keep(tensor: Tensor, new: Tensor, chosen: Tensor) -> None:
    """`tensor` becomes `new` where `chosen`, in place."""
    tensor.copy_(torch.where(chosen, new, tensor))


def clip_each(gradients: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """Each agent's `gradients [K, P]` at most `bound` long, and the norms before, `[K]`."""
    norm = torch.linalg.vector_norm(gradients, dim=-1)
    scale = torch.where(norm > bound, bound / norm, torch.ones_like(norm))
    return gradients * scale.unsqueeze(-1), norm


def normalize_each(gradients: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """The same, exactly `bound` long unless it is 0 or not finite."""
    norm = torch.linalg.vector_norm(gradients, dim=-1)
    sound = torch.isfinite(norm) & (norm > 0)
    scale = torch.where(sound, bound / norm, torch.ones_like(norm))
    return gradients * scale.unsqueeze(-1), norm
