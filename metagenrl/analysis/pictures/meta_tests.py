"""Panels with the learning curves of new agents: what a rule trains them to, against others."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from metagenrl.analysis.confidence import CurveInterval, mean_interval
from metagenrl.analysis.learning_curves import Array, Curves, read_curves
from metagenrl.analysis.pictures.panels import (
    COLORS,
    LINE_STYLES,
    NEUTRAL,
    Block,
    Panel,
    steps_axis,
)

_MEAN, _BAND, _AGENT = 2.2, 0.18, 0.35  # line width, opacity, opacity
_CONTROL = "random"


Band = Callable[[Array], CurveInterval]
"""An aggregate of returns `[K, S]` along S steps with its interval; NaN: not evaluated."""


def meta_test_block(results: Iterable[Path], training_envs: Collection[str] | None) -> Block:
    """A panel per environment of some result folders, a line per label."""

    def titled(env: str) -> str:
        if training_envs is None:
            return env
        return f"{env} ({'seen' if env in training_envs else 'unseen'})"

    title = "Return of new agents (mean, 95 % interval, each agent)"
    if training_envs is not None:
        title += "; seen: an environment of meta-training"
    return curves_block(title, read_curves(results), titled, student_t_band)


def curves_block(
    title: str, curves: Sequence[Curves], titled: Callable[[str], str], band: Band
) -> Block:
    """A panel per environment, named by `titled`, with a line per label."""
    labels = list(dict.fromkeys(curve.label for curve in curves))
    styles = line_styles(labels)
    panels: list[Panel] = []
    for env in dict.fromkeys(curve.env for curve in curves):
        of_env = [curve for curve in curves if curve.env == env]
        panels.append(
            functools.partial(_tests, title=titled(env), curves=of_env, styles=styles, band=band)
        )
    return Block(title, panels, labels)


def student_t_band(returns: Array) -> CurveInterval:
    """Mean and Student's t interval at every step."""
    estimates = [mean_interval(column[np.isfinite(column)]) for column in returns.T]
    mean = np.array([estimate.mean for estimate in estimates])
    half = np.array([estimate.half_width for estimate in estimates])
    return CurveInterval(mean, mean - half, mean + half)


def line_styles(labels: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Label -> colour and line style; the untrained control is grey and dashed."""
    styles: dict[str, tuple[str, str]] = {}
    for label in labels:
        if label.startswith(_CONTROL) and (NEUTRAL, "--") not in styles.values():
            styles[label] = (NEUTRAL, "--")
            continue
        index = sum(color != NEUTRAL for color, _ in styles.values())
        line = LINE_STYLES[index // len(COLORS) % len(LINE_STYLES)]
        styles[label] = (COLORS[index % len(COLORS)], line)
    return styles


def _tests(
    axis: Axes,
    title: str,
    curves: Sequence[Curves],
    styles: dict[str, tuple[str, str]],
    band: Band,
) -> None:
    bands = []
    for depth, curve in enumerate(curves):  # the first one on top
        color, line = styles[curve.label]
        valid = np.isfinite(curve.returns).any(axis=0)  # [S]
        steps, returns = curve.steps[valid], curve.returns[:, valid]
        estimate = band(returns)
        axis.plot(steps, returns.T, color=color, alpha=_AGENT, linewidth=0.7)
        axis.plot(
            steps,
            estimate.values,
            line,
            color=color,
            linewidth=_MEAN,
            label=curve.label,
            zorder=3 - depth / 99,
        )
        bands.append((color, steps, estimate.low, estimate.high))
    # An interval of two agents can be wider than all returns: it must not set the scale.
    limits = axis.get_ylim()
    for color, steps, low, high in bands:
        axis.fill_between(steps, low, high, color=color, alpha=_BAND, linewidth=0)
    axis.set_ylim(limits)
    axis.set_title(title)
    axis.set_ylabel("return")
    steps_axis(axis, "environment steps")
