"""Learning curves of agents that train alone: reading them, their statistics, and the table.

A result folder holds `config.yaml` and `evaluations.jsonl`, one `EvaluationRow` a line. The unit
of every statistic is one agent: a seed of a result folder.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metagenrl.base.wording import counted
from metagenrl.runs.metrics_file import iter_rows
from metagenrl.runs.names import EVALUATIONS_FILE
from metagenrl.runs.rows import EvaluationRow

POINTS = 200
"""Evaluations of a drawn curve; of more, every so many are taken."""

logger = logging.getLogger(__name__)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Curves:
    """The agents that one rule (a label) trained in one environment."""

    env: str
    label: str
    steps: Array  # [S], ascending: where any agent was evaluated
    returns: Array  # [K, S], mean return of K agents, NaN where one was not evaluated
    seeds: NDArray[np.int64]  # [K], each agent's
    end: int | None = None  # steps that the agents were to take; None: the last there are
    absent: int = 0  # agents that have no evaluation at all

    @property
    def final(self) -> Array:
        """[F] returns of the F <= K agents that were evaluated at the last step."""
        end = self.steps[-1:] if self.end is None else self.end
        last = self.returns[:, self.steps == end].reshape(-1)  # [K] or [0]
        return last[np.isfinite(last)]

    @property
    def unfinished(self) -> int:
        """Agents that have no evaluation at the last step: they failed, or still train."""
        return len(self.returns) + self.absent - len(self.final)


def read_curves(folders: Iterable[Path]) -> list[Curves]:
    """All curves of some result folders, in order of first appearance.

    Agents with the same label and environment are put together, also from several folders.
    """
    return group_curves(
        (row.label, folder, row)
        for folder in folders
        for row in iter_rows(folder / EVALUATIONS_FILE, EvaluationRow.kind)
        if isinstance(row, EvaluationRow)
    )


def group_curves(rows: Iterable[tuple[str, Path, EvaluationRow]]) -> list[Curves]:
    """Curves of rows, each with a label, which counts instead of its own, and its folder.

    Rows that a resumed or repeated evaluation wrote twice count once, the later one; a warning
    tells of those that differ.
    """
    groups: dict[tuple[str, str], dict[tuple[Path, int], dict[int, float]]] = {}
    differing: Counter[Path] = Counter()
    for label, folder, row in rows:
        agents = groups.setdefault((row.env, label), {})
        value = math.nan if row.return_mean is None else row.return_mean
        curve = agents.setdefault((folder, row.seed), {})
        differing[folder] += curve.get(row.steps, value) not in (value, math.nan)
        curve[row.steps] = value
    for folder, count in (+differing).items():
        what = counted(count, "evaluation") + (" is" if count == 1 else " are")
        logger.warning("%s: %s there twice with other returns, the later counts", folder, what)
    return [
        curves_of(env, label, [seed for _, seed in agents], [*agents.values()])
        for (env, label), agents in groups.items()
    ]


def curves_of(
    env: str, label: str, seeds: Sequence[int], agents: Sequence[Mapping[int, float]]
) -> Curves:
    """Curves of agents with these seeds, each of which has returns by step."""
    steps = sorted({step for curve in agents for step in curve})
    returns = [[curve.get(step, math.nan) for step in steps] for curve in agents]
    table = np.array(returns, np.float64).reshape(len(seeds), len(steps))  # also of no agents
    return Curves(env, label, np.array(steps, np.float64), table, np.array(seeds, np.int64))


def drawable(curve: Curves) -> Curves:
    """The curve at `POINTS` of its steps at most, the last among them.

    Steps are left out at which an agent has no evaluation that has one later: agents with other
    steps between evaluations would come and go, and with them the mean.
    """
    known = np.isfinite(curve.returns)
    goes_on = np.logical_or.accumulate(known[:, ::-1], axis=1)[:, ::-1]
    common = (known | ~goes_on).all(axis=0)
    curve = replace(curve, steps=curve.steps[common], returns=curve.returns[:, common])
    stride = -(-curve.steps.size // POINTS)
    taken = np.arange(curve.steps.size)[::-1][::stride][::-1]
    return replace(curve, steps=curve.steps[taken], returns=curve.returns[:, taken])
