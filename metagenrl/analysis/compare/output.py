"""A comparison as a Markdown table, as CSV and as a picture."""

from __future__ import annotations

import csv
import functools
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes

from metagenrl.analysis.compare.scores import ALL, Comparison, Line
from metagenrl.analysis.confidence import iqm_band
from metagenrl.analysis.learning_curves import drawable
from metagenrl.analysis.number_text import markdown_table, score, short, with_interval
from metagenrl.analysis.pictures.meta_tests import curves_block, line_styles
from metagenrl.analysis.pictures.panels import NEUTRAL, Block, Panel, draw, row_labels

_HEADER = ("environment", "trained by", "steps", "mean (95 % interval)",
           "interquartile mean (95 % interval)", "agents")  # fmt: skip


def to_markdown(comparison: Comparison) -> str:
    """The table, what scores are normalised by, and what else is to be known."""
    rows = [_cells(line) for line in (*comparison.lines, *comparison.overall)]
    parts = [
        markdown_table(_HEADER, rows),
        "Intervals: 95 % stratified bootstrap over agents (rliable); with few agents they are "
        "narrower than the truth.",
    ]
    if comparison.normalisations:
        scales = [
            f"- {env}: 0 is {short(n.zero)} ({n.zero_by}), 1 is {short(n.one)} ({n.one_by})"
            for env, n in comparison.normalisations.items()
        ]
        parts.append("\n".join(["Normalised scores, linear in the return:", "", *scales]))
    parts += comparison.notes
    return "\n\n".join(parts) + "\n"


def _cells(line: Line) -> list[str]:
    steps = "" if line.steps is None else f"{line.steps:,}"
    agents = f"{line.agents} in each" if line.environment == ALL else str(line.agents)
    unfinished = f" (+{line.unfinished} unfinished)" if line.unfinished else ""
    number = score if line.environment == ALL else short
    means = [with_interval(of.value, of.low, of.high, number) for of in (line.mean, line.iqm)]
    return [line.environment, line.label, steps, *means, agents + unfinished]


def to_csv(comparison: Comparison) -> str:
    """A row per environment, rule and statistic; empty where there is no number."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ("environment", "rule", "steps", "statistic", "value", "low", "high", "agents",
         "unfinished", "zero", "one")
    )  # fmt: skip
    for line in (*comparison.lines, *comparison.overall):
        scale = comparison.normalisations.get(line.environment)
        ends = (scale.zero, scale.one) if scale else ("", "")
        for statistic, interval in (("mean", line.mean), ("iqm", line.iqm)):
            numbers = (interval.value, interval.low, interval.high)
            known = ["" if math.isnan(number) else number for number in numbers]
            steps = "" if line.steps is None else line.steps
            writer.writerow(
                (line.environment, line.label, steps, statistic, *known, line.agents,
                 line.unfinished, *ends)
            )  # fmt: skip
    return text.getvalue()


def to_picture(comparison: Comparison, out: Path) -> Path:
    """Learning curves above, the scores at the end with their intervals below.

    Raises `OSError` where `out` cannot be written.
    """
    curves = [drawable(score.curve) for score in comparison.scores if score.curve.steps.size]
    title = "Return (interquartile mean, 95 % interval, each agent)"
    blocks = [curves_block(title, curves, str, iqm_band), _intervals_block(comparison)]
    return draw("Comparison", blocks, out)


def _intervals_block(comparison: Comparison) -> Block:
    labels = list(dict.fromkeys(score.curve.label for score in comparison.scores))
    styles = {label: color for label, (color, _) in line_styles(labels).items()}
    panels: list[Panel] = []
    for env in dict.fromkeys(line.environment for line in (*comparison.lines, *comparison.overall)):
        lines = [
            line for line in (*comparison.lines, *comparison.overall) if line.environment == env
        ]
        panels.append(functools.partial(_intervals, env=env, lines=lines, colors=styles))
    title = "At the end: interquartile mean (dot), mean (diamond), 95 % intervals"
    return Block(title, panels, named_rows=len(labels))


def _intervals(axis: Axes, env: str, lines: Sequence[Line], colors: Mapping[str, str]) -> None:
    """A row per rule, the interquartile mean above the mean."""
    for row, line in enumerate(lines):
        color = colors[line.label]
        for interval, offset, marker, width in (
            (line.iqm, -0.13, "o", 4.0),
            (line.mean, 0.17, "D", 1.5),
        ):
            y = row + offset
            axis.hlines(y, interval.low, interval.high, color=color, linewidth=width, alpha=0.55)
            axis.plot([interval.value], [y], marker, color=color, ms=7 if marker == "o" else 5)
    row_labels(axis, [line.label for line in lines])
    axis.set_ylim(len(lines) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
    axis.set_title(env)
    axis.set_xlabel("normalised score" if env == ALL else "return")
    if env == ALL:
        for x in (0, 1):
            axis.axvline(x, color=NEUTRAL, linewidth=1, linestyle=":")
