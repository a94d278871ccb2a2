"""The pictures of an explanation."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from metagenrl.analysis.explain.findings import RULES, Curve, Findings, VersionFindings
from metagenrl.analysis.pictures.panels import COLORS, NEUTRAL, Block, Panel, draw

_NORMALIZED = "normalised value"


def draw_findings(findings: Findings, title: str, out: Path) -> list[Path]:
    """Write a PNG for each question into `out`; their paths."""
    pictures = {
        "alignment": [_alignment(findings)],
        "sensitivity": _sensitivity(findings),
        "responses": _responses(findings),
    }
    if len(findings.versions) > 1:
        pictures["versions"] = _versions(findings)
    return [draw(title, blocks, out / f"{name}.png") for name, blocks in pictures.items()]


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


def _sensitivity(findings: Findings) -> list[Block]:
    """Blocks of their own, since colours stand for environments in one and inputs in the other."""
    title = "Relative change of dL/dπ for one standard deviation of an input"
    by_input = functools.partial(_by_input, findings=findings)
    later = functools.partial(_reach, findings=findings)
    return [
        Block(title, [by_input], list(findings.environments)),
        Block("The same for a segment's first step", [later], list(findings.inputs)),
    ]


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
    axis.set_title("mean, each agent")
    axis.set_xlabel("relative change")


def _reach(axis: Axes, findings: Findings) -> None:
    for index, (name, column) in enumerate(zip(findings.inputs, findings.reach.T, strict=True)):
        axis.plot(column, color=COLORS[index], linewidth=2, label=name)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("steps later")
    axis.set_ylabel("relative change")
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def _responses(findings: Findings) -> list[Block]:
    colors, envs = _colors(findings), list(findings.environments)
    features: list[Panel] = [
        functools.partial(
            _response, title=f"by {name}", curve=curve, colors=colors,
            label="position in the segment" if name == "time" else _NORMALIZED,
        )
        for name, curve in findings.responses.items()
    ]  # fmt: skip
    actions: list[Panel] = [
        functools.partial(
            _response, title=name, curve=curve, colors=colors, label="taken action minus policy's"
        )
        for name, curve in findings.action_responses.items()
    ]
    unit = "in root mean squares of a step's gradient"
    return [
        Block(f"Pull towards the taken action ({unit})", features, envs),
        Block(f"Push on the policy's action ({unit})", actions, envs),
    ]


def _response(axis: Axes, title: str, curve: Curve, colors: Mapping[str, str], label: str) -> None:
    axis.axhline(0.0, color=NEUTRAL, linewidth=0.8)
    for env, values in curve.values.items():
        axis.plot(curve.grid, values, color=colors[env], linewidth=2, label=env)
    axis.set_title(title)
    axis.set_xlabel(label)


def _versions(findings: Findings) -> list[Block]:
    blocks = []
    for names, what, title in (
        (RULES, "alignment", "Cosine with known rules, by version (mean over the agents)"),
        (findings.inputs, "sensitivity", "Relative change per standard deviation, by version"),
    ):
        panel = functools.partial(
            _over_versions, versions=findings.versions, names=names, what=what
        )
        blocks.append(Block(title, [panel], list(names)))
    return blocks


def _over_versions(
    axis: Axes, versions: Sequence[VersionFindings], names: Sequence[str], what: str
) -> None:
    if what == "alignment":
        axis.axhline(0.0, color=NEUTRAL, linewidth=0.8)
    else:
        axis.set_yscale("log")  # an untrained objective hears the actions above all
    for index, name in enumerate(names):
        column = [getattr(version, what)[name] for version in versions]
        axis.plot(
            [version.version for version in versions], column, "-o", ms=4, color=COLORS[index],
            label=name,
        )  # fmt: skip
    axis.set_xlabel("version")
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
