"""A study in one picture: aggregates with intervals, and the performance profile."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metagenrl.analysis.confidence import CurveInterval, Interval
from metagenrl.analysis.pictures.panels import COLORS, NEUTRAL, STYLE
from metagenrl.base.files.atomic import write_atomic

THRESHOLDS = np.linspace(-0.25, 1.75, 201)


@dataclass(frozen=True, eq=False)
class Bar:
    """One rule in the picture."""

    label: str
    area: Interval
    late: Interval
    profile: CurveInterval  # over `THRESHOLDS`


def draw_protocol(bars: Sequence[Bar], title: str, path: Path) -> Path:
    """Write the picture: IQM of both numbers on the left, the profile on the right."""
    colours = {bar.label: COLORS[i % len(COLORS)] for i, bar in enumerate(bars)}
    height = max(3.6, 1.4 + 0.42 * len(bars))
    buffer = io.BytesIO()
    with rc_context(STYLE):
        figure = Figure(figsize=(11, height), layout="constrained")
        left, right = figure.subplots(1, 2)
        _aggregates(left, bars, colours)
        _profiles(right, bars, colours)
        figure.suptitle(title, fontsize=11)
        figure.savefig(buffer, dpi=130)
    write_atomic(path, [buffer.getvalue()])
    return path


def _aggregates(axes: Axes, bars: Sequence[Bar], colours: Mapping[str, str]) -> None:
    for place, bar in enumerate(reversed(bars)):
        for offset, number, marker in ((0.14, bar.area, "o"), (-0.14, bar.late, "s")):
            at, colour = place + offset, colours[bar.label]
            if np.isfinite(number.low):
                axes.plot([number.low, number.high], [at, at], color=colour, linewidth=2)
            filled = colour if marker == "o" else "white"
            axes.plot(number.value, at, marker, color=colour, markerfacecolor=filled, markersize=6)
    for at in (0.0, 1.0):
        axes.axvline(at, color=NEUTRAL, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(bars)), [bar.label for bar in reversed(bars)])
    axes.set_ylim(-0.6, len(bars) - 0.4)
    axes.set_xlabel("interquartile mean, 0: random objective, 1: TD3")
    axes.set_title("filled: whole curve, hollow: last third", loc="left", fontsize=9)


def _profiles(axes: Axes, bars: Sequence[Bar], colours: Mapping[str, str]) -> None:
    for bar in bars:
        axes.plot(THRESHOLDS, bar.profile.values, color=colours[bar.label], label=bar.label)
        if np.isfinite(bar.profile.low).all():
            axes.fill_between(
                THRESHOLDS, bar.profile.low, bar.profile.high, color=colours[bar.label], alpha=0.15,
                linewidth=0,
            )  # fmt: skip
    axes.set_xlabel("score of an agent in the last third")
    axes.set_ylabel("share of agents above it")
    axes.set_xlim(THRESHOLDS[0], THRESHOLDS[-1])
    axes.set_ylim(-0.02, 1.02)
    axes.legend(fontsize=8, frameon=False)
