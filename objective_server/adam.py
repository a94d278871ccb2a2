"""Adam (Kingma & Ba 2015, Algorithm 1) on one flat vector, without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metagenrl.base.checks import require

Array = NDArray[np.float32]

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8  # the defaults of torch.optim.Adam


@dataclass(frozen=True)
class CosineDecay:
    """A step size that falls from `initial` to 0 along half a cosine over `updates` updates.

    With a step size that does not fall, alpha follows the population: it can train the policies
    that are there now and still be no rule that trains new ones (section 11). Not in the
    paper.
    """

    initial: float
    updates: int

    def __post_init__(self) -> None:
        require(self.initial > 0, "learning_rate", self.initial, "a number > 0")
        require(self.updates >= 1, "updates", self.updates, "a number >= 1")

    def at(self, step: int) -> float:
        """The step size of update number `step`, counted from 0."""
        return self.initial * 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.updates)))


@dataclass(frozen=True, eq=False)
class Adam:
    """The optimiser's state; a step gives a new one, so that it can be committed before use."""

    learning_rate: float | CosineDecay
    step: int  # updates so far
    m: Array  # [P], mean of the gradients
    v: Array  # [P], mean of their squares

    def __post_init__(self) -> None:
        if not isinstance(self.learning_rate, CosineDecay):
            require(self.learning_rate > 0, "learning_rate", self.learning_rate, "a number > 0")
        require(self.step >= 0, "Adam step", self.step, "a number >= 0")
        require(self.m.shape == self.v.shape, "Adam moments", self.v.shape, str(self.m.shape))

    @classmethod
    def start(cls, parameters: int, learning_rate: float | CosineDecay) -> Adam:
        """The state before the first update of a vector of `parameters` values."""
        return cls(
            learning_rate, 0, np.zeros(parameters, np.float32), np.zeros(parameters, np.float32)
        )

    def update(self, alpha: Array, gradient: Array) -> tuple[Array, Adam]:
        """alpha and the optimiser after one step down `gradient`; the inputs stay as they are.

        m_t = b1 m + (1 - b1) g,  v_t = b2 v + (1 - b2) g^2,
        alpha_t = alpha - lr * (m_t / (1 - b1^t)) / (sqrt(v_t / (1 - b2^t)) + eps)

        Shapes [P], float32. Raises `ValueError` for a gradient of another shape.
        """
        require(gradient.shape == self.m.shape, "gradient", gradient.shape, str(self.m.shape))
        t = self.step + 1
        m = self.m + (1 - BETA_1) * (gradient - self.m)
        v = BETA_2 * self.v + (1 - BETA_2) * (gradient * gradient)
        denominator = np.sqrt(v) / np.float32((1 - BETA_2**t) ** 0.5) + EPSILON
        rate = self.learning_rate
        rate = rate.at(self.step) if isinstance(rate, CosineDecay) else rate
        step_size = rate / (1 - BETA_1**t)
        new_alpha: Array = (alpha - step_size * (m / denominator)).astype(np.float32, copy=False)
        return new_alpha, replace(self, step=t, m=m, v=v)

    def state_dict(self) -> dict[str, Any]:
        """Step count and moments; the learning rate is configuration, not state."""
        return {"step": self.step, "m": self.m.copy(), "v": self.v.copy()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], learning_rate: float | CosineDecay) -> Adam:
        """Undo `state_dict`."""
        m, v = (np.array(state[name], dtype=np.float32) for name in ("m", "v"))
        return cls(learning_rate, int(state["step"]), m, v)
