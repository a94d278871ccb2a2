"""Which agents belong together: what trained them, under the name that tables and pictures use."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from metagenrl.analysis.compare.same import PARAMETERS, told_apart
from metagenrl.analysis.confidence import Interval, mean_with_interval
from metagenrl.analysis.learning_curves import Curves, curves_of, group_curves
from metagenrl.analysis.number_text import brief
from metagenrl.analysis.report.discover import Runs, TestRun, TrainRun
from metagenrl.analysis.report.variants import Variants
from metagenrl.base.files.errors import CorruptFile
from metagenrl.objective_server.snapshots.find import read_best

MOST_NAMES = 4
"""Environments whose names make a rule's name; the paper's tables have up to four."""
_METHODS = {"epg": "EPG", "rl2": "RL²"}


@dataclass(frozen=True)
class Rule:
    """A row of the paper's Tables 1 and 2."""

    name: str
    trained_in: tuple[str, ...] | None  # None: not meta-trained
    curves: dict[str, Curves]  # by environment


class Rules:
    """The tests of a report by rule: learned ones by environments, agents and variant.

    Of a run whose objective was tested at several versions, the one counts that a held-out
    evaluation chose, else the last.
    """

    def __init__(self, runs: Runs, variants: Variants) -> None:
        self._training = {run.identity.id: run for run in runs.training if run.identity}
        self._variants = variants
        self._steps: dict[str, set[int]] = {}
        for test in runs.tests:
            for env in test.environments:
                self._steps.setdefault(env, set()).add(test.steps)
        self.tests = [test for test in runs.tests if test in self._chosen(runs.tests)]
        # Objectives of several meta-training seeds are one rule, other hyper-parameters are not.
        names = {test.path: self._name_of(test) for test in runs.tests}
        self._names = told_apart(runs.tests, names, pooled={PARAMETERS})
        self.rules = self._grouped()

    def run_of(self, test: TestRun) -> TrainRun | None:
        """The meta-training run that a test's objective came from, if it is in the report."""
        return self._training.get(str(test.facts.get("run")))

    def name_of(self, test: TestRun) -> str:
        """The rule that trained the agents of a test, told apart from others of that name."""
        return self._names[test.path]

    def _name_of(self, test: TestRun) -> str:
        name = test.label
        if test.trained_in is not None:
            name = f"{_METHODS.get(test.rule, 'MetaGenRL')} {_environments(test)}"
            if test.facts.get("phase") == "train":
                name += ", meta-training"
            run = self.run_of(test)
            if run is None and len(test.trained_in) > MOST_NAMES:  # of two such, which?
                name += f", v{test.version}"
            elif run is not None:
                name += "".join(f", {word}" for word in self._variants.words(run))
        # Returns after different numbers of steps are never averaged.
        lengths = [self._steps[env] for env in test.environments]
        return f"{name}, {test.steps:,} steps" if any(len(each) > 1 for each in lengths) else name

    def _chosen(self, tests: Sequence[TestRun]) -> list[TestRun]:
        versions: dict[tuple[str, str], set[int]] = {}
        for test in tests:
            if test.version is not None:
                versions.setdefault(_origin(test), set()).add(test.version)
        chosen = []
        for test in tests:
            there = versions.get(_origin(test), set())
            if test.version is None or test.version == self._best(test, there):
                chosen.append(test)
        return chosen

    def _best(self, test: TestRun, there: set[int]) -> int:
        run = self.run_of(test)
        best = None if run is None else best_version(run)
        return best if best in there else max(there)

    def _grouped(self) -> list[Rule]:
        rows = [(self.name_of(test), test.path, row) for test in self.tests for row in test.rows()]
        curves = self._complete([curve for curve in group_curves(rows) if curve.steps.size])
        origins = {self.name_of(test): test.trained_in for test in self.tests}
        names = sorted(
            dict.fromkeys(curve.label for curve in curves),
            key=lambda name: (origins[name] is None, not name.startswith("random")),
        )
        return [
            Rule(name, origins[name], {c.env: c for c in curves if c.label == name})
            for name in names
        ]

    def _complete(self, curves: Sequence[Curves]) -> list[Curves]:
        """The curves with the agents and steps that there should be: what failed is counted."""
        found = {(curve.label, curve.env): curve for curve in curves}
        tests: dict[tuple[str, str], list[TestRun]] = {}
        for test in self.tests:
            for env in test.environments:
                tests.setdefault((self.name_of(test), env), []).append(test)
        complete = []
        for (name, env), of_rule in tests.items():
            curve = found.get((name, env), curves_of(env, name, [], []))
            absent = sum(test.agents for test in of_rule) - len(curve.returns)
            complete.append(replace(curve, end=of_rule[0].steps, absent=max(0, absent)))
        return complete

    @property
    def environments(self) -> list[str]:
        """The environments of the tests, first those that some rule was meta-trained in."""
        envs = dict.fromkeys(env for rule in self.rules for env in rule.curves)
        seen = {env for rule in self.rules for env in rule.trained_in or ()}
        return sorted(envs, key=lambda env: env not in seen)


def _origin(test: TestRun) -> tuple[str, str]:
    return str(test.facts.get("run")), test.env


def best_version(run: TrainRun) -> int | None:
    """The version that a held-out evaluation chose."""
    try:
        best = read_best(run.path)
    except CorruptFile:
        return None
    return None if best is None else int(best["version"])


def final_mean(curve: Curves) -> Interval:
    """Mean and interval of the agents that reached the last step, at least one."""
    return _mean(tuple(map(float, curve.final)))


@functools.cache  # a bootstrap takes half a second, and several parts of the page want the same
def _mean(scores: tuple[float, ...]) -> Interval:
    return mean_with_interval(scores)


def _environments(test: TestRun) -> str:
    """Where an objective was meta-trained; of many, their number."""
    names = list(map(brief, test.trained_in or ()))
    if len(names) <= MOST_NAMES:
        return " & ".join(names)
    return f"of {len(names)} environments"
