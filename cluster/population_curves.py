"""What the training picture shows, as arrays: the population's returns over steps and lives."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from metagenrl.cluster.records import AgentRow
from numpy.typing import NDArray

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


def population_returns(rows: Iterable[AgentRow]) -> PopulationReturns:
    """Every agent's return on a common grid of steps; `rows` are of one environment."""
    agents = _known(rows)
    if not agents:
        return PopulationReturns(np.zeros(0), np.zeros((0, 0)))
    longest = max(len(curve) for curve in agents.values())
    last = max(max(curve) for curve in agents.values())
    grid = np.linspace(0.0, last, min(POINTS, longest) + 1)[1:]  # [S]
    returns = np.full((len(agents), len(grid)), math.nan)
    for index, agent in enumerate(sorted(agents)):
        steps = np.array(sorted(agents[agent]), np.float64)  # [R]
        values = np.array([agents[agent][int(step)] for step in steps])
        latest = np.searchsorted(steps, grid + 1e-9, side="right") - 1
        # One grid step of grace: agents' last rows are not all at the same step.
        alive = (latest >= 0) & (grid <= steps[-1] + grid[0])
        returns[index, alive] = values[latest[alive]]
    return PopulationReturns(grid, returns)


def _known(rows: Iterable[AgentRow]) -> dict[int, dict[int, float]]:
    """Agent -> steps -> return; a restarted agent's later rows replace those it repeats."""
    agents: dict[int, dict[int, float]] = {}
    for row in rows:
        if row.return_mean is not None:
            agents.setdefault(row.agent, {})[row.steps] = row.return_mean
    return agents


def generations(rows: Iterable[AgentRow]) -> dict[int, list[float]]:
    """End-of-life returns by life's number; only lives that have ended (another one followed).

    The mean over the episodes of the life's last fifth, or else of the last interval that has
    any. The first lives are of different lengths where they are staggered.
    """
    lives: dict[tuple[int, int], list[AgentRow]] = {}
    for row in rows:
        lives.setdefault((row.agent, row.life), []).append(row)
    ended: dict[int, list[float]] = {}
    for (agent, life), of_life in sorted(lives.items()):
        value = _end_of_life(of_life) if (agent, life + 1) in lives else None
        if value is not None:
            ended.setdefault(life, []).append(value)
    return ended


def _end_of_life(rows: Sequence[AgentRow]) -> float | None:
    known = [row for row in rows if row.return_mean is not None]
    if not known:
        return None
    length = max(row.life_steps for row in rows)
    late = [row for row in known if row.life_steps > (1 - END_OF_LIFE) * length] or known[-1:]
    weights = [row.episodes for row in late]
    return float(np.average([row.return_mean for row in late], weights=weights))


def thinned(steps: Sequence[float], values: Sequence[float | None]) -> tuple[Array, Array]:
    """At most `POINTS` means over neighbouring values: ([S], [S]); None and NaN are left out."""
    pairs = [(s, v) for s, v in zip(steps, values, strict=True) if v is not None]
    if not pairs:
        return np.zeros(0), np.zeros(0)
    both = np.array(pairs, np.float64)  # [V, 2]
    chunks = np.array_split(both, min(POINTS, len(both)))
    means = np.array([chunk.mean(axis=0) for chunk in chunks])  # [S, 2]
    return means[:, 0], means[:, 1]
