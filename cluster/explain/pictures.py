"""The pictures of an explanation."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from metagenrl.cluster.explain.findings import RULES, Curve, Findings, VersionFindings
from metagenrl.cluster.figures import COLORS, LINE_STYLES, NEUTRAL, Block, Panel, draw

_STEP = "standard deviations from the mean"


def draw_findings(findings: Findings, title: str, out: Path) -> list[Path]:
    """Write a PNG for each question into `out`; their paths."""
    blocks = {
        "alignment": _alignment(findings),
        "sensitivity": _sensitivity(findings),
        "responses": _responses(findings),
    }
    if len(findings.versions) > 1:
        blocks["versions"] = _versions(findings)
    return [draw(title, [block], out / f"{name}.png") for name, block in blocks.items()]


def _colors(findings: Findings) -> dict[str, str]:
    return {env: COLORS[i % len(COLORS)] for i, env in enumerate(findings.environments)}


def _alignment(findings: Findings) -> Block:
    panels: list[Panel] = [
        functools.partial(_cosines, findings=findings, space=space, title=title)
        for space, title in (
            ("actions", "of the actions' directions"),
            ("parameters", "of the steps in the policy's parameters"),
        )
    ]
    title = "Cosine of the objective's update with known rules' (mean, each agent)"
    return Block(title, panels, list(findings.environments))


def _cosines(axis: Axes, findings: Findings, space: str, title: str) -> None:
    colors = _colors(findings)
    axis.axvline(0.0, color=NEUTRAL, linewidth=0.8)
    for row, rule in enumerate(RULES):
        for index, (env, color) in enumerate(colors.items()):
            height = row + 0.5 * (index + 1) / (len(colors) + 1) - 0.25
            values = [getattr(a, space)[rule] for a in findings.alignments if a.env == env]
            axis.plot(values, [height] * len(values), "o", color=color, alpha=0.4, ms=4)
            axis.plot([np.nanmean(values)], [height], "D", color=color, ms=8, label=env)
    axis.set_yticks(range(len(RULES)), [rule.replace(" ", "\n", 1) for rule in RULES])
    axis.set_ylim(len(RULES) - 0.5, -0.5)
    axis.set_xlim(-1.05, 1.05)
    axis.set_title(title)
    axis.set_xlabel("cosine")


def _sensitivity(findings: Findings) -> Block:
    title = "Relative change of dL/dπ for one standard deviation of an input"
    panels: list[Panel] = [
        functools.partial(_by_input, findings=findings),
        functools.partial(_reach, findings=findings),
    ]
    return Block(title, panels, [*findings.environments, *findings.inputs])


def _by_input(axis: Axes, findings: Findings) -> None:
    for index, (env, color) in enumerate(_colors(findings).items()):
        offset = 0.5 * (index + 1) / (len(findings.environments) + 1) - 0.25
        heights = np.arange(len(findings.inputs)) + offset
        rows = [by_input for e, by_input in findings.sensitivities if e == env]
        values = np.array([[row[name] for name in findings.inputs] for row in rows])  # [K, F]
        for height, column in zip(heights, values.T, strict=True):
            axis.plot(column, [height] * len(column), "o", color=color, alpha=0.4, ms=4)
        axis.plot(values.mean(axis=0), heights, "D", color=color, ms=8, label=env)
    axis.set_yticks(range(len(findings.inputs)), list(findings.inputs))
    axis.set_ylim(len(findings.inputs) - 0.5, -0.5)
    axis.set_xlim(left=0)
    axis.set_title("at any step (mean, each agent)")
    axis.set_xlabel("relative change")


def _reach(axis: Axes, findings: Findings) -> None:
    for name, column, style in _lines(findings.inputs, findings.reach.T):
        axis.plot(column, label=name, **style)
    axis.set_ylim(bottom=0)
    axis.set_title("of a segment's first step, by how much later")
    axis.set_xlabel("steps later")
    axis.set_ylabel("relative change")
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def _lines(
    names: Sequence[str], columns: np.ndarray | Sequence[Sequence[float]]
) -> list[tuple[str, np.ndarray, dict[str, str]]]:
    """Inputs as dark lines of different strokes, since colours stand for environments."""
    shades = ("black", NEUTRAL)
    return [
        (
            name, np.asarray(column),
            {"color": shades[i % 2], "linestyle": LINE_STYLES[i % len(LINE_STYLES)]},
        )
        for i, (name, column) in enumerate(zip(names, columns, strict=True))
    ]  # fmt: skip


def _responses(findings: Findings) -> Block:
    panels: list[Panel] = []
    for name, curve in findings.responses.items():
        label = "position in the segment" if name == "time" else _STEP
        panels.append(
            functools.partial(
                _response, title=f"pull towards the taken action, by {name}", curve=curve,
                colors=_colors(findings), label=label,
            )
        )  # fmt: skip
    for name, curve in findings.action_responses.items():
        panels.append(
            functools.partial(
                _response, title=f"push on the action, {name}", curve=curve,
                colors=_colors(findings), label="taken action minus policy's",
            )
        )  # fmt: skip
    title = "Response to one input at one step (in root mean squares of a step's gradient)"
    return Block(title, panels, list(findings.environments))


def _response(axis: Axes, title: str, curve: Curve, colors: Mapping[str, str], label: str) -> None:
    axis.axhline(0.0, color=NEUTRAL, linewidth=0.8)
    for env, values in curve.values.items():
        axis.plot(curve.grid, values, color=colors[env], linewidth=2, label=env)
    axis.set_title(title)
    axis.set_xlabel(label)


def _versions(findings: Findings) -> Block:
    panels: list[Panel] = [
        functools.partial(_over_versions, versions=findings.versions, names=names, what=what,
                          title=title)
        for names, what, title in (
            (RULES, "alignment", "cosine with known rules"),
            (tuple(findings.inputs), "sensitivity", "relative change per standard deviation"),
        )
    ]  # fmt: skip
    return Block("Over the versions (mean over the agents)", panels, [*RULES, *findings.inputs])


def _over_versions(
    axis: Axes, versions: Sequence[VersionFindings], names: Sequence[str], what: str, title: str
) -> None:
    columns = [[getattr(version, what)[name] for version in versions] for name in names]
    if what == "alignment":
        axis.axhline(0.0, color=NEUTRAL, linewidth=0.8)
        lines = [
            (name, np.asarray(column), {"color": COLORS[i]})
            for i, (name, column) in enumerate(zip(names, columns, strict=True))
        ]
    else:
        axis.set_yscale("log")  # an untrained objective hears the actions above all
        lines = _lines(names, columns)
    for name, column, style in lines:
        axis.plot([v.version for v in versions], column, marker="o", ms=4, label=name, **style)
    axis.set_title(title)
    axis.set_xlabel("version")
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
