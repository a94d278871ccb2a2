"""The top of the page: is each run healthy, and which objective is best?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from metagenrl.analysis.compare.same import learning_starts
from metagenrl.analysis.number_text import brief, short
from metagenrl.analysis.population_curves import PopulationReturns
from metagenrl.analysis.report.contents import Fact, Facts, Section
from metagenrl.analysis.report.discover import Runs, TrainRun
from metagenrl.analysis.report.rules import Rule, Rules, best_version, final_mean
from metagenrl.analysis.report.training import agent_steps
from metagenrl.analysis.run_history import RunHistory
from metagenrl.base.files.errors import CorruptFile
from metagenrl.base.wording import counted
from metagenrl.objective_server.snapshots.find import read_best, snapshot_versions

WEAK = 0.05
"""A cosine between agents' gradients below which they agree on next to nothing."""
_WELL = frozenset({"starting", "random", "learning"})
_ERRORS = 2.0  # standard errors that a change must exceed


def glance_section(runs: Runs, rules: Rules, histories: Mapping[Path, RunHistory]) -> Section:
    """Facts about the evidence first, then about every run."""
    health = [Facts(run.name, _health(run, histories[run.path])) for run in runs.training]
    evidence = Facts("New agents", [*_evidence(rules), *_untrained(rules)])
    facts = [evidence, *health] if runs.training or runs.tests else []
    return Section("glance", "At a glance", facts=facts)


def _evidence(rules: Rules) -> list[Fact]:
    """Each learned rule against the untrained control, environment by environment."""
    learned = [rule for rule in rules.rules if rule.trained_in is not None]
    control = next((rule for rule in rules.rules if rule.name.startswith("random")), None)
    if not learned:
        return [Fact("No meta-tests yet: what has been learned is not known.", "warning")]
    if control is None:
        return [Fact("No random objective among the tests to compare with.", "warning")]
    return [_against(rule, control) for rule in learned]


def _untrained(rules: Rules) -> list[Fact]:
    """Of each rule and environment whose tests ended before their agents learned anything."""
    found = {}
    for test in rules.tests:
        starts = learning_starts(test)
        if test.steps < starts:
            text = (
                f"{rules.name_of(test)} in {', '.join(test.environments)}: learning begins at "
                f"step {starts:,}, these agents ended after {test.steps:,} and are as they began."
            )
            found[text] = Fact(text, "warning")
    return list(found.values())


def _against(rule: Rule, control: Rule) -> Fact:
    shared = [
        env
        for env, curve in rule.curves.items()
        if env in control.curves and len(curve.final) and len(control.curves[env].final)
    ]
    better = []
    for env in shared:
        one = final_mean(rule.curves[env])
        other = final_mean(control.curves[env])
        # With a single agent there is no interval: NaN compares as false.
        if one.low > other.high:
            better.append(env)
    names = f" ({', '.join(map(brief, better))})" if better else ""
    text = (
        f"{rule.name}: better than the random objective, intervals apart, in {len(better)} of "
        f"{len(shared)} environments{names}."
    )
    return Fact(text, "good" if shared and len(better) == len(shared) else "warning")


def _health(run: TrainRun, history: RunHistory) -> list[Fact]:
    if not history.latest:
        return [Fact("no metrics yet", "warning")]
    return [
        _progress(run, history),
        _agents(history),
        *(_trend(env, returns.result()) for env, returns in history.returns.items()),
        *_gradients(history),
        *_tests(history),
        _best(run),
    ]


def _progress(run: TrainRun, history: RunHistory) -> Fact:
    steps, goal = agent_steps(history), run.config.agents * run.config.steps
    text = f"{steps:,} of {goal:,} agent-steps ({steps / goal:.0%})"
    return Fact(text, "good" if steps >= goal else "neutral")


def _agents(history: RunHistory) -> Fact:
    rows = [row for row in history.latest.values() if row.agent not in history.away]
    well = sum(row.state in _WELL for row in rows)
    restarts = sum(row.restarts for row in history.latest.values())
    text = f"{well} of {counted(history.agents, 'agent')} well, {counted(restarts, 'restart')}"
    return Fact(text, "good" if well == history.agents else "warning")


def _trend(env: str, curves: PopulationReturns) -> Fact:
    """Mean return over the agents in the first and in the last fifth of the run."""
    # In a short run some points lie before the first episode's end.
    known = curves.returns[:, np.isfinite(curves.returns).any(axis=0)]  # [N, P]
    if not known.size:
        return Fact(f"{env}: no finished episode yet")
    fifth = max(1, known.shape[1] // 5)
    first, last = _means(known[:, :fifth]), _means(known[:, -fifth:])
    error = math.sqrt(sum(v.var() / len(v) for v in (first, last)))
    change = last.mean() - first.mean()
    word = "no clear change" if abs(change) <= _ERRORS * error else "up" if change > 0 else "down"
    if min(len(first), len(last)) < 2:
        word = "of one agent"  # which says nothing of how much it varies
    text = f"{env}: return of the population {short(first.mean())} → {short(last.mean())} ({word})"
    marks = {"up": "good", "down": "warning"}
    return Fact(text, "good" if word == "up" else "warning" if word in marks else "neutral")


def _means(returns: np.ndarray) -> np.ndarray:
    known = returns[np.isfinite(returns).any(axis=1)] if returns.size else returns
    means: np.ndarray = np.nanmean(known, axis=1) if known.size else np.zeros(0)
    return means


def _gradients(history: RunHistory) -> list[Fact]:
    last = history.last_version
    if last is None:
        return [Fact("no version of the objective yet", "warning")]
    total = last.accepted + last.rejected
    counts = f"meta-gradients: {last.accepted:,} accepted, {last.rejected:,} refused"
    facts = [Fact(counts, "good" if last.rejected <= 0.01 * total else "warning")]
    cosines = history.objective["cosine"].arrays()[1]
    if cosines.size:
        recent = float(cosines[-max(1, cosines.size // 5) :].mean())
        word = "they hardly agree" if recent < WEAK else "they agree"
        value = f"{round(recent, 2) + 0.0:+.2f}".replace("-", "\N{MINUS SIGN}")
        text = f"cosine between agents' meta-gradients {value} in the last fifth: {word}"
        facts.append(Fact(text, "warning" if recent < WEAK else "good"))
    return facts


def _tests(history: RunHistory) -> list[Fact]:
    failed = history.failed_tests
    return [Fact(f"{failed} held-out tests failed or diverged", "warning")] if failed else []


def _best(run: TrainRun) -> Fact:
    try:
        best = read_best(run.path)
    except CorruptFile as error:
        return Fact(str(error), "warning")
    if best is not None and best_version(run) is not None:
        text = (
            f"best objective: version {best['version']:,} ({best['metric']}: {best['score']:.4g})"
        )
        return Fact(text, "good")
    versions: Sequence[int] = snapshot_versions(run.path)
    if not versions:
        return Fact("no snapshot of the objective yet", "warning")
    return Fact(f"last objective: version {versions[-1]:,}; none was chosen by held-out evaluation")
