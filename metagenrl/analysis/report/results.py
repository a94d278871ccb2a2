"""What frozen objectives train new agents to: the evidence, as a table and as curves."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from metagenrl.analysis.confidence import Interval, interval_text, iqm_band, iqm_with_interval
from metagenrl.analysis.learning_curves import drawable, group_curves
from metagenrl.analysis.number_text import short
from metagenrl.analysis.pictures.meta_tests import curves_block
from metagenrl.analysis.pictures.panels import COLORS, NEUTRAL, Block, Panel
from metagenrl.analysis.protocol.aggregates import interquartile_mean
from metagenrl.analysis.report.contents import Cell, Picture, Section, Table
from metagenrl.analysis.report.discover import Runs
from metagenrl.analysis.report.rules import Rule, Rules, final_mean
from metagenrl.analysis.run_history import RunHistory

SEEN = "†"


def results_section(rules: Rules) -> Section:
    """New agents: the table in the layout of the paper's Tables 1 and 2, and learning curves."""
    if not rules.rules:
        return Section("results", "New agents")
    text = (
        "Only agents that a frozen objective trains from scratch show what was learned. "
        f"{SEEN}: an environment of the meta-training; all others were never seen by it."
    )
    return Section("results", "New agents", text, tables=[_table(rules)], pictures=[_curves(rules)])


def _table(rules: Rules) -> Table:
    envs = rules.environments
    caption = (
        "Return at the last step (mean and 95 % stratified bootstrap interval over agents, as "
        "rliable's), below it the interquartile mean and the number of agents."
    )
    rows = [[Cell(rule.name), *(_cell(rule, env) for env in envs)] for rule in rules.rules]
    return Table(caption, ["trained by", *envs], rows)


def _cell(rule: Rule, env: str) -> Cell:
    curve = rule.curves.get(env)
    if curve is None:
        return Cell("-")
    if not len(curve.final):
        return Cell("-", f"{curve.unfinished} failed or unfinished")
    mark = SEEN if env in (rule.trained_in or ()) else ""
    count = f"{len(curve.final)} agent{'s' if len(curve.final) > 1 else ''}"
    unfinished = f", {curve.unfinished} failed or unfinished" if curve.unfinished else ""
    middle = short(float(interquartile_mean(curve.final)))
    return Cell(interval_text(final_mean(curve)) + mark, f"IQM {middle}, {count}{unfinished}")


def _curves(rules: Rules) -> Picture:
    curves = [
        drawable(rule.curves[env])
        for env in rules.environments
        for rule in rules.rules
        if env in rule.curves and rule.curves[env].steps.size
    ]
    title = "Return of new agents (interquartile mean, 95 % interval, each agent)"
    titled = functools.partial(_titled, rules=rules)
    block = curves_block(title, curves, titled, iqm_band)
    return Picture("new-agents", block, "Return of the deterministic policy (Figures 3, 8, 9).")


def _titled(env: str, rules: Rules) -> str:
    learned = [rule for rule in rules.rules if rule.trained_in is not None and env in rule.curves]
    seen = [env in (rule.trained_in or ()) for rule in learned]
    if not learned:
        return env
    word = "seen" if all(seen) else "seen by some" if any(seen) else "unseen"
    return f"{env} ({word})"


def versions_section(runs: Runs, rules: Rules, histories: Mapping[Path, RunHistory]) -> Section:
    """Tests of several versions of one objective: does it still get better?"""
    held_out = [env for history in histories.values() for env in history.held_out]
    envs = dict.fromkeys([*rules.environments, *held_out])
    found = {env: _held_out(runs, histories, env) | _progress(runs, rules, env) for env in envs}
    labels = list(dict.fromkeys(name for progress in found.values() for name in progress))
    colors = {name: COLORS[i % len(COLORS)] for i, name in enumerate(labels)}
    panels: list[Panel] = [
        functools.partial(
            _versions, env=env, progress=progress, control=_control(rules, env), colors=colors
        )
        for env, progress in found.items()
        if progress
    ]
    block = Block("Return of new agents by the objective's version", panels, labels)
    caption = "Interquartile mean and 95 % interval over agents (Figures 4, 10)."
    if any(progress and _control(rules, env) is not None for env, progress in found.items()):
        caption += " Dashed: the objective that was never trained."
    return Section(
        "versions", "The objective's progress", pictures=[Picture("versions", block, caption)]
    )


def _held_out(
    runs: Runs, histories: Mapping[Path, RunHistory], env: str
) -> dict[str, dict[int, Interval]]:
    """The same from the evaluations during meta-training."""
    progress = {}
    for run in runs.training:
        returns = histories[run.path].held_out.get(env, {})
        if len(returns) > 1:
            points = {v: iqm_with_interval(values) for v, values in sorted(returns.items())}
            progress[f"{run.name}, held-out"] = points
    return progress


def _progress(runs: Runs, rules: Rules, env: str) -> dict[str, dict[int, Interval]]:
    """Run -> version -> return at the end, for runs that were tested at several versions."""
    tests = [test for test in runs.tests if test.env == env and test.version is not None]
    progress: dict[str, dict[int, Interval]] = {}
    for origin in dict.fromkeys(str(test.facts.get("run")) for test in tests):
        of_run = [test for test in tests if str(test.facts.get("run")) == origin]
        longest = max(test.steps for test in of_run)
        rows = [(str(t.version), t.path, r) for t in of_run if t.steps == longest for r in t.rows()]
        finals = {int(c.label): c.final for c in group_curves(rows) if c.steps.size}
        known = {v: iqm_with_interval(f) for v, f in sorted(finals.items()) if len(f)}
        if len(known) > 1:
            run = rules.run_of(of_run[0])
            progress[run.name if run else origin] = known
    return progress


def _control(rules: Rules, env: str) -> float | None:
    """Where the untrained control ends."""
    controls = [rule for rule in rules.rules if rule.name.startswith("random")]
    finals = [rule.curves[env].final for rule in controls if env in rule.curves]
    return float(np.mean(finals[0])) if finals and len(finals[0]) else None


def _versions(
    axis: Axes,
    env: str,
    progress: dict[str, dict[int, Interval]],
    control: float | None,
    colors: dict[str, str],
) -> None:
    if control is not None:
        axis.axhline(control, color=NEUTRAL, linestyle="--", linewidth=1.2)
    for name, points in progress.items():
        color = colors[name]
        values = np.array([(p.value, p.low, p.high) for p in points.values()])  # [V, 3]
        axis.plot(list(points), values[:, 0], "-o", color=color, ms=5, label=name)
        axis.vlines(list(points), values[:, 1], values[:, 2], color=color, alpha=0.6)
    axis.set_title(env)
    axis.set_ylabel("return")
    axis.set_xlabel("version")
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
