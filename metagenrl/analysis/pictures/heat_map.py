"""Agents by time: the whole population's returns in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from metagenrl.analysis.pictures.style import only
from metagenrl.analysis.population_curves import population_returns
from metagenrl.runs.rows import AgentRow


def heat_map(rows: Sequence[AgentRow]) -> Figure | None:
    """A panel for each environment, an agent a line; None where no episode has ended yet."""
    envs = list(dict.fromkeys(row.env for row in rows))
    panels = [(env, [row for row in rows if row.env == env]) for env in envs]
    panels = [
        (env, of_env) for env, of_env in panels if any(r.return_mean is not None for r in of_env)
    ]
    if not panels:
        return None
    agents = [len({row.agent for row in of_env}) for _, of_env in panels]
    figure = Figure(figsize=(9, 1.2 * len(panels) + 0.22 * sum(agents)), layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=agents)[:, 0]
    for axis, (env, of_env) in zip(axes, panels, strict=True):
        curves = population_returns(of_env)
        numbers = sorted({row.agent for row in of_env if row.return_mean is not None})
        image = axis.pcolormesh(
            np.concatenate([[0.0], curves.steps]),
            np.arange(len(numbers) + 1),
            np.ma.masked_invalid(curves.returns),
            cmap="cividis",  # the same to colour-blind eyes
            rasterized=True,
        )
        axis.set_yticks(np.arange(len(numbers)) + 0.5, [f"{number:02d}" for number in numbers])
        axis.invert_yaxis()
        axis.set_title(env, loc="left", fontsize=10)
        axis.set_ylabel("agent")
        figure.colorbar(image, ax=axis, label="return")
    axes[-1].set_xlabel("environment steps of an agent")
    return figure


def draw_heat_map(rows: Sequence[AgentRow], path: Path) -> bool:
    """Write the picture; False where there is nothing to show yet."""
    with only({}):
        figure = heat_map(rows)
        if figure is None:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=100)
    return True
