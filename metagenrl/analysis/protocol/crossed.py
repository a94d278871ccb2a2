"""One rule's numbers in one environment: which meta-training seed's objective, which agent.

The design is crossed. Agent 3 starts with the same weights, meets the same environment seeds and is
evaluated from the same initial states whoever trains it, so what it reaches under two objectives
is alike, and under two rules. Cells may be missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Crossed:
    """N agents' numbers, each with the place of its meta-training seed and its own number."""

    values: Array  # [N]
    seeds: Labels  # [N], from 0; all 0 of a hand-made rule
    agents: Labels  # [N]

    def with_values(self, values: Array) -> Crossed:
        """The same agents with other numbers."""
        return replace(self, values=values)

    def where(self, chosen: NDArray[np.bool_]) -> Crossed:
        """These of the agents, `[N]`."""
        return Crossed(self.values[chosen], self.seeds[chosen], self.agents[chosen])

    def by_seed(self) -> dict[int, Array]:
        """The agents' numbers of each seed."""
        return {int(seed): self.values[self.seeds == seed] for seed in np.unique(self.seeds)}


def joined(parts: Sequence[Crossed]) -> Crossed:
    """All of them together. Raises `ValueError` for none."""
    return Crossed(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.seeds for part in parts]),
        np.concatenate([part.agents for part in parts]),
    )
