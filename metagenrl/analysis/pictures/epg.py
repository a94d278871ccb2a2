"""The picture of an evolved loss: what the agents it trained came to, generation by generation."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from metagenrl.analysis.pictures.panels import COLORS, NEUTRAL, Block, Panel, draw
from metagenrl.runs.metrics_file import Metrics, read_metrics
from metagenrl.runs.rows import AgentRow


def draw_epg(run_dir: Path, out: Path) -> Path:
    """Draw `out`: fitness by generation in each environment, and the loss's own curves.

    Raises `ValueError` where the run has no rows yet and `OSError` where it cannot be written.
    """
    blocks = epg_blocks(read_metrics(run_dir))
    return draw(f"Evolved policy gradients: {run_dir.name}", blocks, out)


def epg_blocks(metrics: Metrics) -> tuple[Block, Block]:
    """The agents' returns, a panel for each environment, and the loss's own curves."""
    panels: list[Panel] = []
    for index, env in enumerate(dict.fromkeys(row.env for row in metrics.agents)):
        rows = [row for row in metrics.agents if row.env == env]
        color = COLORS[index % len(COLORS)]
        panels.append(functools.partial(_fitness, env=env, rows=rows, color=color))
    objectives = metrics.objective
    loss: list[Panel] = [
        functools.partial(_series, title=title, values=values)
        for title, values in (
            ("norm of the evolution gradient", [row.gradient_norm for row in objectives]),
            ("norm of the update", [row.update_norm for row in objectives]),
            ("norm of the loss's parameters", [row.alpha_norm for row in objectives]),
        )
    ]
    title = "Return of the agents that the perturbed losses trained (mean, each agent)"
    return Block(title, panels), Block("Loss", loss if objectives else [])


def _fitness(axis: Axes, env: str, rows: Sequence[AgentRow], color: str) -> None:
    known = [(row.life, row.return_mean) for row in rows if row.return_mean is not None]
    points = np.array(known, np.float64).reshape(-1, 2)  # [G * V, 2]
    generations = np.unique(points[:, 0])
    means = [points[points[:, 0] == generation, 1].mean() for generation in generations]
    axis.plot(points[:, 0], points[:, 1], "o", color=color, alpha=0.25, ms=3)
    axis.plot(generations, means, color=color, linewidth=2.2)
    axis.set_title(env)
    axis.set_ylabel("return")
    _by_generation(axis)


def _series(axis: Axes, title: str, values: Sequence[float | None]) -> None:
    """A value of every generation; not finite ones are left out."""
    known = [np.nan if value is None else value for value in values]
    axis.plot(range(len(known)), known, color=NEUTRAL, linewidth=1.6)
    axis.set_title(title)
    _by_generation(axis)


def _by_generation(axis: Axes) -> None:
    axis.set_xlabel("generation")
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
