"""Meta-training set-ups against each other: population sizes, ablations, inner steps."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from metagenrl.analysis.confidence import interval_text, iqm_with_interval
from metagenrl.analysis.learning_curves import group_curves
from metagenrl.analysis.pictures.panels import COLORS, Block, Panel
from metagenrl.analysis.report.contents import Picture, Section, Table, texts
from metagenrl.analysis.report.discover import Runs, TrainRun
from metagenrl.analysis.report.rules import Rules
from metagenrl.analysis.report.variants import Variants
from metagenrl.analysis.run_history import RunHistory

Scores = dict[str, dict[str, list[float]]]
"""Environment -> variant -> returns at the end, one an agent."""


def comparison_section(
    runs: Runs, rules: Rules, variants: Variants, histories: Mapping[Path, RunHistory]
) -> Section:
    """The effect of the runs' differences on returns (Figures 5, 6, 12); empty for one set-up."""
    named = {run.path: ", ".join(variants.words(run)) for run in runs.training}
    section = Section("comparison", "Set-ups compared")
    if len(set(named.values())) < 2:
        return section
    scores, of_whom = _scores_of_tests(rules, named), "new agents"
    if not any(len(by_variant) > 1 for by_variant in scores.values()):
        scores, of_whom = _scores_of_populations(runs.training, named, histories), "the population"
    scores = {env: by_variant for env, by_variant in scores.items() if len(by_variant) > 1}
    if not scores:
        return section
    sizes_only = not variants.fields
    panels: list[Panel] = [
        functools.partial(
            _sizes if sizes_only else _variants, env=env, scores=by_variant, color=COLORS[0]
        )
        for env, by_variant in scores.items()
    ]
    what = "number of agents" if sizes_only else "set-up"
    block = Block(f"Return of {of_whom} by {what}", panels)
    caption = "Each agent, interquartile mean and 95 % interval (Figures 5, 6, 12)."
    text = "" if of_whom == "new agents" else (
        "These runs have no meta-tests of several set-ups, so the returns are those of the "
        "populations while meta-training, which alone are no evidence of a learning rule."
    )  # fmt: skip
    picture = Picture("comparison", block, caption)
    return Section(section.name, section.title, text, tables=[_table(scores)], pictures=[picture])


def _scores_of_tests(rules: Rules, named: Mapping[Path, str]) -> Scores:
    scores: Scores = {}
    for test in rules.tests:
        run = rules.run_of(test)
        if run is None:
            continue
        rows = [(test.label, test.path, row) for row in test.rows()]
        for curve in group_curves(rows):
            of_env = scores.setdefault(test.env, {})
            of_env.setdefault(named[run.path], []).extend(map(float, curve.final))
    return scores


def _scores_of_populations(
    training: Sequence[TrainRun], named: Mapping[Path, str], histories: Mapping[Path, RunHistory]
) -> Scores:
    """Each agent's mean over the last fifth of its steps."""
    scores: Scores = {}
    for run in training:
        for env, over_steps in histories[run.path].returns.items():
            returns = over_steps.result().returns  # [N, S]
            late = returns[:, int(returns.shape[1] * 0.8) :]
            known = late[np.isfinite(late).any(axis=1)] if late.size else late
            means = np.nanmean(known, axis=1).tolist() if known.size else []
            if means:
                scores.setdefault(env, {}).setdefault(named[run.path], []).extend(means)
    return scores


def _table(scores: Scores) -> Table:
    names = list(dict.fromkeys(name for by_variant in scores.values() for name in by_variant))
    rows = []
    for name in names:
        known = [by_variant.get(name) for by_variant in scores.values()]
        cells = [interval_text(iqm_with_interval(k)) if k else "-" for k in known]
        rows.append(texts(name, *cells))
    return Table("Interquartile mean and 95 % interval.", ["set-up", *scores], rows)


def _variants(axis: Axes, env: str, scores: Mapping[str, list[float]], color: str) -> None:
    """A line per set-up, one below the other, since their names are long."""
    for row, values in enumerate(scores.values()):
        estimate = iqm_with_interval(values)
        axis.plot(values, [row] * len(values), "o", color=color, alpha=0.35, ms=4)
        axis.hlines(row, estimate.low, estimate.high, color=color, linewidth=3)
        axis.plot([estimate.value], [row], "o", color=color, ms=8)
    axis.set_yticks(range(len(scores)), [name.replace(", ", "\n", 1) for name in scores])
    axis.set_ylim(len(scores) - 0.5, -0.5)
    axis.set_title(env)
    axis.set_xlabel("return")


def _sizes(axis: Axes, env: str, scores: Mapping[str, list[float]], color: str) -> None:
    """Returns over the number of agents (Figure 12)."""
    by_size = sorted((int(name.split()[0]), values) for name, values in scores.items())
    estimates = [iqm_with_interval(values) for _, values in by_size]
    sizes = [size for size, _ in by_size]
    for size, values in by_size:
        axis.plot([size] * len(values), values, "o", color=color, alpha=0.35, ms=4)
    axis.vlines(
        sizes, [e.low for e in estimates], [e.high for e in estimates], color=color, linewidth=3
    )
    axis.plot(sizes, [e.value for e in estimates], "-o", color=color, ms=8)
    axis.set_xticks(sizes)
    axis.margins(x=0.1)
    axis.set_title(env)
    axis.set_xlabel("agents in the population")
    axis.set_ylabel("return")
