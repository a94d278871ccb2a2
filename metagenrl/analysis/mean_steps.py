"""Environment steps of an agent, from those of a population whose size changes."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass


@dataclass(frozen=True)
class _Stretch:
    """A time in which the population had one size."""

    total: float  # steps of all agents together when it began
    mean: float  # what counts as an agent's steps by then
    agents: int


class MeanSteps:
    """The steps of an agent that was there from the start: its share of each step of all."""

    def __init__(self, agents: int) -> None:
        self._stretches = [_Stretch(0.0, 0.0, agents)]
        self._total = 0.0  # newest

    def at(self, total: float) -> float:
        """An agent's steps when all together had `total`; that may be in the past."""
        self._total = max(self._total, total)
        place = bisect_right(self._stretches, total, key=lambda stretch: stretch.total)
        stretch = self._stretches[max(0, place - 1)]
        return stretch.mean + (total - stretch.total) / stretch.agents

    def change(self, by: int) -> None:
        """So many agents joined now, or left if negative; the last one never leaves."""
        agents = max(1, self._stretches[-1].agents + by)
        self._stretches.append(_Stretch(self._total, self.at(self._total), agents))
