"""Adam and gradient clipping on flat vectors: a handful of operations, no torch.optim import."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


class Adam:
    """Adam (Kingma and Ba, 2015), torch.optim's formula, on one tensor of parameters."""

    def __init__(
        self,
        parameters: Tensor,
        learning_rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
    ) -> None:
        self.parameters, self.learning_rate = parameters, learning_rate
        self.betas, self.epsilon = betas, epsilon
        self.m, self.v, self.t = torch.zeros_like(parameters), torch.zeros_like(parameters), 0

    def advance(self) -> tuple[float, float, float, float, float]:
        """Count a step; its beta1, beta2, epsilon, step size and second moment's correction."""
        self.t += 1
        b1, b2 = self.betas
        correction = math.sqrt(1 - b2**self.t)
        return b1, b2, self.epsilon, self.learning_rate / (1 - b1**self.t), correction

    def step(self, gradient: Tensor) -> None:
        """Update the parameters in place along `gradient` (same shape)."""
        b1, b2, epsilon, rate, scale = self.advance()
        self.m.lerp_(gradient, 1 - b1)
        self.v.mul_(b2).addcmul_(gradient, gradient, value=1 - b2)
        denominator = self.v.sqrt().div_(scale).add_(epsilon)
        self.parameters.addcdiv_(self.m, denominator, value=-rate)

    def state_dict(self) -> dict[str, Any]:
        """Moments and step count."""
        return {"m": self.m.numpy().copy(), "v": self.v.numpy().copy(), "t": self.t}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; raises `RuntimeError` where a size differs."""
        self.m.copy_(torch.tensor(state["m"]).view_as(self.m))
        self.v.copy_(torch.tensor(state["v"]).view_as(self.v))
        self.t = int(state["t"])


def clip_by_norm(gradient: Tensor, bound: float) -> float:
    """Scale `gradient` in place to at most `bound` in global norm; its norm before."""
    norm = float(torch.linalg.vector_norm(gradient))
    if norm > bound:
        gradient.mul_(bound / norm)
    return norm


def scale_to_norm(gradient: Tensor, bound: float) -> float:
    """Scale `gradient` in place to `bound` in global norm, unless it is 0 or not finite."""
    norm = float(torch.linalg.vector_norm(gradient))
    if math.isfinite(norm) and norm > 0:
        gradient.mul_(bound / norm)
    return norm
