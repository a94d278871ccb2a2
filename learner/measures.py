"""What is measured of a policy while it is updated, by name: the one place for a new number.

A measure is a function of the policy's actions on the minibatch of its update. Its name goes
through every report and row (`AgentRow.values`) to `metrics.jsonl`; its words are the key's in
`docs/metrics.md`, the column's in `metagenrl top` and the panel's in the report. Nothing here
imports torch: those who show a number do without.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from metagenrl.learner.types import Batch

MEASURE_EVERY = 8
"""Rounds of an agent from one measurement to the next: rows are means over many more."""


@dataclass(frozen=True)
class Measure:
    """A number of a policy at an update."""

    name: str  # `agent/<agent>/NAME` for trackers
    meaning: str
    heading: str  # of its column in `metagenrl top`, a few letters
    of: Callable[[Tensor, Batch], Tensor]
    """pi `[..., B, T, A]` and the minibatch `[..., B, T]` that it was evaluated on to `[...]`."""


MEASURES: tuple[Measure, ...] = ()


def measure(pi: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Every measure by its name, `[...]`, of actions `pi [..., B, T, A]` on `batch`."""
    return {each.name: each.of(pi, batch) for each in MEASURES}
