"""Two numbers that show a policy which has stopped to learn: saturated, or one push everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metagenrl.learner.measures import SATURATED


@dataclass(frozen=True)
class ActionFacts:
    """Of the actions in some episodes."""

    at_bounds: float
    """Share of all numbers in all actions beyond `SATURATED`, 0 … 1."""
    spread: float
    """Standard deviation over the steps, the mean over dimensions; 0: the same in every state."""

    def __str__(self) -> str:
        return f"actions: {self.at_bounds:.0%} at a bound, spread over states {self.spread:.2f}"


def action_facts(actions: Sequence[NDArray[np.float64]]) -> ActionFacts:
    """The facts of at least one action `[A]` in [-1, 1]."""
    taken = np.stack(actions)  # [N, A]
    return ActionFacts(float((np.abs(taken) > SATURATED).mean()), float(taken.std(0).mean()))
