"""The pictures of a run: meta-training, meta-tests against their controls, and both in one."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from metagenrl.cluster.figures import (
    COLORS,
    NEUTRAL,
    Block,
    Panel,
    draw,
    note,
    steps_axis,
)
from metagenrl.cluster.meta_test_panels import meta_test_block
from metagenrl.cluster.metrics import Metrics, read_metrics
from metagenrl.cluster.population_curves import generations, population_returns, thinned
from metagenrl.cluster.records import AgentRow, ObjectiveRow
from numpy.typing import NDArray

CURVES_FILE = "curves.png"

_MEAN, _BAND, _AGENT = 2.2, 0.18, 0.35  # line width, opacity, opacity
_ALL_AGENTS = "all agents"


def draw_training(run_dir: Path) -> Path:
    """Draw `run_dir/curves.png` from the run's metrics; returns its path.

    Per environment the population's returns (mean, minimum to maximum, each agent) and, where
    agents have had several lives, their end-of-life returns; then the meta-gradient. Raises
    `ValueError` where the run has no rows yet and `OSError` where it cannot be written.
    """
    metrics = read_metrics(run_dir)
    blocks = [*_population_blocks(metrics), _meta_block(metrics)]
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
    metrics = read_metrics(train_run)
    seen = {row.env for row in metrics.agents}
    blocks = [meta_test_block(test_runs, seen), *_population_blocks(metrics), _meta_block(metrics)]
    return draw(f"Learned objective: {train_run.name}", blocks, out)


def _population_blocks(metrics: Metrics) -> list[Block]:
    panels: list[Panel] = []
    lives: list[Panel] = []
    for env, color in _environments(metrics).items():
        rows = [row for row in metrics.agents if row.env == env]
        panels.append(functools.partial(_returns, env=env, color=color, rows=rows))
        if by_life := generations(rows):
            panel = functools.partial(_lives, env=env, color=color, returns=by_life)
            lives.append(panel)
    return [
        Block("Return of the population (mean, range, each agent)", panels),
        Block("Return at the end of a life, by generation (mean, each agent)", lives),
    ]


def _environments(metrics: Metrics) -> dict[str, str]:
    """Environment -> colour, in the order of the agents."""
    rows = sorted(metrics.agents, key=lambda row: row.agent)
    names = dict.fromkeys(row.env for row in rows)
    return {name: COLORS[index % len(COLORS)] for index, name in enumerate(names)}


def _returns(axis: Axes, env: str, color: str, rows: Sequence[AgentRow]) -> None:
    curves = population_returns(rows)
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


def _meta_block(metrics: Metrics) -> Block:
    rows = metrics.objective
    if not rows:
        return Block("Objective", [])
    agents = max(1, len({row.agent for row in metrics.agents}))
    steps = np.array([row.agent_steps / agents for row in rows])
    colors = _environments(metrics)
    norm = functools.partial(
        _line, title="norm of the mean meta-gradient", steps=steps,
        values=[row.gradient_norm for row in rows],
    )  # fmt: skip
    alpha = functools.partial(
        _line, title="norm of the objective's parameters", steps=steps,
        values=[row.alpha_norm for row in rows],
    )  # fmt: skip
    cosine = functools.partial(_cosines, steps=steps, rows=rows, colors=colors)
    return Block("Objective", [norm, cosine, alpha], [*colors, _ALL_AGENTS])


def _line(
    axis: Axes, title: str, steps: NDArray[np.float64], values: Sequence[float | None]
) -> None:
    axis.plot(*thinned(list(steps), values), color="black", linewidth=1.4)
    axis.set_title(title)
    steps_axis(axis, "steps of an agent")


def _cosines(
    axis: Axes, steps: NDArray[np.float64], rows: Sequence[ObjectiveRow], colors: dict[str, str]
) -> None:
    axis.axhline(0.0, color=NEUTRAL, linewidth=0.8)
    for env, color in colors.items():
        of_env = thinned(list(steps), [row.cosine_by_env.get(env) for row in rows])
        if of_env[0].size:
            axis.plot(*of_env, color=color, linewidth=0.9, alpha=0.8, label=env)
    axis.plot(
        *thinned(list(steps), [row.cosine for row in rows]),
        color="black", linewidth=1.4, label=_ALL_AGENTS,
    )  # fmt: skip
    axis.set_title("cosine between agents' gradients")
    steps_axis(axis, "steps of an agent")
