"""A study's scores in two panels: aggregates with intervals, and the performance profile."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from metagenrl.analysis.confidence import CurveInterval, Interval
from metagenrl.analysis.pictures.meta_tests import line_styles
from metagenrl.analysis.pictures.panels import NEUTRAL, Block, row_labels

THRESHOLDS = np.linspace(-0.25, 1.75, 201)
Styles = Mapping[str, tuple[str, str]]


@dataclass(frozen=True, eq=False)
class Bar:
    """One rule in the picture."""

    label: str
    area: Interval
    late: Interval
    profile: CurveInterval  # over `THRESHOLDS`


def protocol_block(title: str, bars: Sequence[Bar], labels: Sequence[str]) -> Block:
    """The interquartile means of both numbers, and the profile; `labels` decide the colours."""
    styles = line_styles(labels)
    panels = [
        functools.partial(_aggregates, bars=bars, styles=styles),
        functools.partial(_profiles, bars=bars, styles=styles),
    ]
    return Block(title, panels if bars else [], named_rows=len(bars))


def _aggregates(axis: Axes, bars: Sequence[Bar], styles: Styles) -> None:
    for row, bar in enumerate(bars):
        color = styles[bar.label][0]
        for interval, offset, marker in ((bar.area, -0.15, "o"), (bar.late, 0.15, "D")):
            axis.hlines(
                row + offset, interval.low, interval.high, color=color, linewidth=3, alpha=0.5
            )
            axis.plot([interval.value], [row + offset], marker, color=color, ms=6)
    for x in (0, 1):
        axis.axvline(x, color=NEUTRAL, linewidth=1, linestyle=":")
    row_labels(axis, [bar.label for bar in bars])
    axis.set_ylim(len(bars) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
    axis.set_title("whole curve (dot), last third (diamond)", fontsize=9)
    axis.set_xlabel("interquartile mean of scores")


def _profiles(axis: Axes, bars: Sequence[Bar], styles: Styles) -> None:
    for bar in bars:
        color, line = styles[bar.label]
        axis.plot(THRESHOLDS, bar.profile.values, line, color=color, linewidth=2)
        axis.fill_between(
            THRESHOLDS, bar.profile.low, bar.profile.high, color=color, alpha=0.15, linewidth=0
        )
    axis.set_title("performance profile, last third", fontsize=9)
    axis.set_xlabel("score")
    axis.set_ylabel("share of agents above it")
    axis.set_xlim(THRESHOLDS[0], THRESHOLDS[-1])
    axis.set_ylim(-0.02, 1.02)
