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


SATURATED = 0.98
"""Beyond it tanh passes less than 4 % of a gradient."""


def saturated(pi: Tensor, batch: Batch) -> Tensor:
    """Share of the policy's actions, each dimension for itself, beyond `SATURATED`."""
    return _mean((pi.abs() > SATURATED).to(pi.dtype), batch)


def action_size(pi: Tensor, batch: Batch) -> Tensor:
    """Mean |a_t| of the actions that were taken, exploration included."""
    return _mean(batch.actions.abs(), batch)


def _mean(x: Tensor, batch: Batch) -> Tensor:
    """Mean over valid steps and action dimensions: `[..., B, T, A] -> [...]`."""
    steps = batch.mask.sum((-2, -1)).clamp(min=1)
    return (x.mean(-1) * batch.mask).sum((-2, -1)) / steps


MEASURES = (
    Measure("saturated", "share of its actions (each dimension) beyond +-0.98", "sat", saturated),
    Measure(
        "action_size",
        "mean absolute action (each dimension) in its minibatches",
        "|a|",
        action_size,
    ),
)
"""Every number, in the order of columns and panels."""


def measure(pi: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Every measure by its name, `[...]`, of actions `pi [..., B, T, A]` on `batch`."""
    return {each.name: each.of(pi, batch) for each in MEASURES}
