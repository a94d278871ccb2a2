"""What the training picture shows, as arrays: the population's returns over steps and lives.

Rows go in one at a time, in the order in which they were written, so that a run of any length
takes the memory of a picture.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from metagenrl.analysis.mean_series import MeanSeries
from metagenrl.runs.rows import AgentRow

Array = NDArray[np.float64]

POINTS = 200
"""Points of a drawn curve."""
END_OF_LIFE = 0.2
"""The last share of a life whose episodes make its end-of-life return."""


@dataclass(frozen=True)
class PopulationReturns:
    """The agents of one environment."""

    steps: Array  # [S], of an agent
    returns: Array  # [N, S], latest known mean return, NaN before the first and after the last


class ReturnsOverSteps:
    """The returns of the agents of one environment."""

    def __init__(self) -> None:
        self._agents: dict[int, MeanSeries] = {}
        self._incarnations: dict[int, int] = {}

    def add(self, row: AgentRow) -> None:
        """Take in a row; a restarted agent's rows replace those that they repeat."""
        series = self._agents.setdefault(row.agent, MeanSeries())
        if row.incarnation != self._incarnations.setdefault(row.agent, row.incarnation):
            self._incarnations[row.agent] = row.incarnation
            series.cut(row.steps)
        series.add(row.steps, row.return_mean)

    def result(self) -> PopulationReturns:
        """Every agent's return on a common grid of steps."""
        curves = [self._agents[agent].arrays() for agent in sorted(self._agents)]
        curves = [(steps, values) for steps, values in curves if steps.size]
        if not curves:
            return PopulationReturns(np.zeros(0), np.zeros((0, 0)))
        longest = max(steps.size for steps, _ in curves)
        last = max(float(steps[-1]) for steps, _ in curves)
        grid = np.linspace(0.0, last, min(POINTS, longest) + 1)[1:]  # [S]
        returns = np.full((len(curves), len(grid)), math.nan)
        for index, (steps, values) in enumerate(curves):
            latest = np.searchsorted(steps, grid + 1e-9, side="right") - 1
            # One grid step of grace: agents' last rows are not all at the same step.
            alive = (latest >= 0) & (grid <= steps[-1] + grid[0])
            returns[index, alive] = values[latest[alive]]
        return PopulationReturns(grid, returns)


def population_returns(rows: Iterable[AgentRow]) -> PopulationReturns:
    """The same of rows, in the order in which they were written, of one environment."""
    over_steps = ReturnsOverSteps()
    for row in rows:
        over_steps.add(row)
    return over_steps.result()


@dataclass
class _Life:
    """One agent's running life."""

    number: int
    length: int = 0  # steps so far
    late: deque[tuple[int, float, int]] = field(default_factory=deque)  # steps, return, episodes

    def add(self, row: AgentRow) -> None:
        """Keep what may still be of the life's end; the last known return in any case."""
        while self.late and self.late[-1][0] >= row.life_steps:  # repeated after a restart
            self.late.pop()
        self.length = row.life_steps
        if row.return_mean is not None:
            self.late.append((row.life_steps, row.return_mean, row.episodes))
        while len(self.late) > 1 and self.late[0][0] <= (1 - END_OF_LIFE) * self.length:
            self.late.popleft()

    def end(self) -> float | None:
        """Mean over the episodes of the last fifth, else of the last interval that has any."""
        if not self.late:
            return None
        values, episodes = [v for _, v, _ in self.late], [e for _, _, e in self.late]
        return float(np.average(values, weights=episodes))


class ReturnsOverLives:
    """End-of-life returns of the agents of one environment, of lives that have ended."""

    def __init__(self) -> None:
        self._running: dict[int, _Life] = {}
        self._ended: dict[int, dict[int, float]] = {}  # agent -> life -> return

    def add(self, row: AgentRow) -> None:
        """Take in a row; with the first of another life, the one before has ended."""
        life = self._running.setdefault(row.agent, _Life(row.life))
        ended = self._ended.setdefault(row.agent, {})
        if row.life != life.number:
            value = life.end()
            if row.life > life.number and value is not None:
                ended[life.number] = value
            for repeated in [number for number in ended if number >= row.life]:
                del ended[repeated]
            life = self._running[row.agent] = _Life(row.life)
        life.add(row)

    def result(self) -> dict[int, list[float]]:
        """Returns by the life's number; first lives differ in length where they are staggered."""
        lives: dict[int, list[float]] = {}
        for agent in sorted(self._ended):
            for number, value in self._ended[agent].items():
                lives.setdefault(number, []).append(value)
        return lives
