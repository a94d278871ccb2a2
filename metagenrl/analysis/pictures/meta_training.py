"""The pictures of a run: meta-training, meta-tests against their controls, and both in one."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from metagenrl.analysis.mean_series import MeanSeries
from metagenrl.analysis.pictures.meta_tests import meta_test_block
from metagenrl.analysis.pictures.panels import (
    COLORS,
    NEUTRAL,
    Block,
    Panel,
    draw,
    note,
    steps_axis,
)
from metagenrl.analysis.population_curves import PopulationReturns
from metagenrl.analysis.run_history import RunHistory, read_history
from metagenrl.learner.measures import MEASURES
from metagenrl.runs.names import CURVES_FILE

_MEAN, _BAND, _AGENT = 2.2, 0.18, 0.35  # line width, opacity, opacity
_ALL_AGENTS = "all agents"


def draw_training(run_dir: Path) -> Path:
    """Draw `run_dir/curves.png` from the run's metrics; returns its path.

    Per environment the population's returns (mean, minimum to maximum, each agent) and, where
    agents have had several lives, their end-of-life returns; then the meta-gradient. Raises
    `ValueError` where the run has no rows yet and `OSError` where it cannot be written.
    """
    history = read_history(run_dir)
    blocks = [*population_blocks(history), meta_block(history)]
    return draw(f"Meta-training: {run_dir.name}", blocks, run_dir / CURVES_FILE)


def draw_meta_test(
    results: Sequence[Path], out: Path, training_envs: Collection[str] | None = None
) -> Path:
    """Draw the learning curves of result folders into `out`, a panel per environment.

    A line per label: mean and 95 % interval over the agents (Student's t), each agent thin.
    Panels say whether an environment is among `training_envs`, where these are given. Raises
    `ValueError` where there is no evaluation and `OSError` where it cannot be written.
    """
    return draw("New agents, trained from scratch", [meta_test_block(results, training_envs)], out)


def draw_summary(train_run: Path, test_runs: Sequence[Path], out: Path) -> Path:
    """Draw the meta-tests, which alone are evidence, above the meta-training into `out`.

    Raises as the other two do.
    """
    history = read_history(train_run)
    tests = meta_test_block(test_runs, set(history.environments))
    blocks = [tests, *population_blocks(history), meta_block(history)]
    return draw(f"Learned objective: {train_run.name}", blocks, out)


def population_blocks(history: RunHistory) -> list[Block]:
    """The population's returns over its steps, and over its lives where any have ended."""
    panels: list[Panel] = []
    lives: list[Panel] = []
    for env, color in _colors(history).items():
        curves = history.returns[env].result()
        panels.append(functools.partial(_returns, env=env, color=color, curves=curves))
        if by_life := history.lives[env].result():
            lives.append(functools.partial(_lives, env=env, color=color, returns=by_life))
    return [
        Block("Return of the population (mean, range, each agent)", panels),
        Block("Return at the end of a life, by generation (mean, each agent)", lives),
    ]


def meta_block(history: RunHistory) -> Block:
    """The objective's side: norms, and how well the agents' gradients agree."""
    if history.last_version is None:
        return Block("Objective", [])
    colors = _colors(history)
    norm = functools.partial(
        series_panel, title="norm of the mean meta-gradient",
        series=history.objective["gradient_norm"],
    )  # fmt: skip
    alpha = functools.partial(
        series_panel, title="norm of the objective's parameters",
        series=history.objective["alpha_norm"],
    )  # fmt: skip
    cosine = functools.partial(_cosines, history=history, colors=colors)
    return Block("Objective", [norm, cosine, alpha], [*colors, _ALL_AGENTS])


def policies_block(history: RunHistory) -> Block:
    """The measures of the policies, the mean of the agents of each environment."""
    colors = _colors(history)
    panels: list[Panel] = [
        functools.partial(
            _by_environment, title=each.meaning, series=history.measures[each.name], colors=colors
        )
        for each in MEASURES
        if each.name in history.measures
    ]
    return Block("Policies at their updates", panels, [*colors])


def _by_environment(
    axis: Axes, title: str, series: dict[str, MeanSeries], colors: dict[str, str]
) -> None:
    for env, curve in series.items():
        axis.plot(*curve.arrays(), color=colors[env], linewidth=1.4, label=env)
    axis.set_title(title)
    steps_axis(axis, "steps of an agent")


def _colors(history: RunHistory) -> dict[str, str]:
    """Environment -> colour, in the order of the agents."""
    names = history.environments
    return {name: COLORS[index % len(COLORS)] for index, name in enumerate(names)}


def _returns(axis: Axes, env: str, color: str, curves: PopulationReturns) -> None:
    axis.set_title(env)
    if not curves.steps.size:
        note(axis, "no finished episode yet")
        return
    valid = np.isfinite(curves.returns).any(axis=0)  # [S]
    steps, returns = curves.steps[valid], curves.returns[:, valid]
    low, high = np.nanmin(returns, axis=0), np.nanmax(returns, axis=0)
    axis.fill_between(steps, low, high, color=color, alpha=_BAND, linewidth=0)
    axis.plot(steps, returns.T, color=color, alpha=_AGENT, linewidth=0.7)
    axis.plot(steps, np.nanmean(returns, axis=0), color=color, linewidth=_MEAN)
    axis.set_ylabel("return")
    steps_axis(axis, "steps of an agent")


def _lives(axis: Axes, env: str, color: str, returns: dict[int, list[float]]) -> None:
    numbers = sorted(returns)
    for life in numbers:
        axis.plot([life] * len(returns[life]), returns[life], "o", color=color, alpha=0.4, ms=4)
    means = [float(np.mean(returns[life])) for life in numbers]
    axis.plot(numbers, means, "-o", color=color, linewidth=_MEAN, ms=6)
    axis.set_title(env)
    axis.set_ylabel("return")
    axis.set_xlabel("generation")
    axis.margins(x=0.1)
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))


def series_panel(axis: Axes, title: str, series: MeanSeries) -> None:
    """One value over the steps of an agent."""
    steps, values = series.arrays()
    axis.plot(steps, values, color="black", linewidth=1.4)
    # A constant is a straight line, not the noise of its last digits.
    if values.size and np.ptp(values) < 1e-6 * np.abs(values).max():
        axis.set_ylim(*sorted((0.9 * values[0], 1.1 * values[0])))
    axis.set_title(title)
    steps_axis(axis, "steps of an agent")


def _cosines(axis: Axes, history: RunHistory, colors: dict[str, str]) -> None:
    axis.axhline(0.0, color=NEUTRAL, linewidth=0.8)
    for env, color in colors.items():
        if env in history.cosines:
            steps, values = history.cosines[env].arrays()
            axis.plot(steps, values, color=color, linewidth=0.9, alpha=0.8, label=env)
    steps, values = history.objective["cosine"].arrays()
    axis.plot(steps, values, color="black", linewidth=1.4, label=_ALL_AGENTS)
    axis.set_title("cosine between agents' gradients")
    steps_axis(axis, "steps of an agent")
