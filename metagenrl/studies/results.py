"""What a study's agents reached: their two numbers by seed, and scores over environments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from metagenrl.analysis.compare.scores import Normalisation
from metagenrl.analysis.confidence import Interval
from metagenrl.analysis.learning_curves import Curves, read_curves
from metagenrl.analysis.protocol.aggregates import mean
from metagenrl.analysis.protocol.bootstrap import Scores, interval
from metagenrl.analysis.protocol.numbers import NUMBERS, Array, Number
from metagenrl.analysis.protocol.scores import (
    Aggregate,
    Seeds,
    aggregate,
    even,
    normalised,
    scale,
)
from metagenrl.runs.names import EVALUATIONS_FILE
from metagenrl.studies.plan import Condition


@dataclass(frozen=True, eq=False)
class Result:
    """A condition with the curves of the seeds that have any."""

    condition: Condition
    curves: Mapping[int, Curves]
    """By place in the condition's folders, which is the meta-training seed's."""

    @property
    def handmade(self) -> bool:
        """Whether its agents, and not meta-training seeds, are the units."""
        return not self.condition.variant

    def numbers(self, number: Number) -> dict[int, Array]:
        """The agents' numbers by seed, without agents that are not finished."""
        found = {seed: NUMBERS[number](curves) for seed, curves in self.curves.items()}
        known = {seed: values[np.isfinite(values)] for seed, values in found.items()}
        return {seed: values for seed, values in known.items() if values.size}

    def interval(self, number: Number) -> Interval | None:
        """Mean return with its interval, agents an even number a seed; None without agents."""
        seeds = list(self.numbers(number).values())
        if not seeds:
            return None
        return interval(even({self.condition.env: seeds}), mean, rule=self.handmade)


@dataclass(frozen=True, eq=False)
class Overall:
    """A rule over the environments of one set, by both numbers."""

    rule: str
    handmade: bool
    set: str
    aggregates: Mapping[Number, Aggregate]
    scores: Mapping[Number, Scores]
    numbers: Mapping[Number, Mapping[str, Seeds]]
    """The returns that `scores` were made of, by environment and seed."""
    note: str = ""


def read_results(conditions: Iterable[Condition]) -> list[Result]:
    """The results that are there; a condition without any evaluation is left out."""
    results = []
    for condition in conditions:
        curves = {}
        for seed, folder in enumerate(condition.folders):
            file = folder / EVALUATIONS_FILE
            if file.is_file() and file.stat().st_size:
                curves[seed] = read_curves([folder])[0]
        if curves:
            results.append(Result(condition, curves))
    return results


def scales_of(results: Sequence[Result], number: Number) -> dict[str, Normalisation]:
    """The returns that score 0 and 1, by environment, where random objective and TD3 are there."""
    found = {}
    for env in dict.fromkeys(result.condition.env for result in results):
        rules = {
            r.condition.rule: list(r.numbers(number).values())
            for r in results
            if r.condition.env == env and r.handmade and r.numbers(number)
        }
        normalisation = scale(rules)
        if normalisation is not None:
            found[env] = normalisation
    return found


def overall(results: Sequence[Result], rule: str, set_name: str) -> Overall | None:
    """A rule's aggregates over the environments of a set; None where nothing can be said.

    A meta-training seed counts that has agents in all of them.
    """
    of_rule = [
        r for r in results if r.condition.rule == rule and r.condition.set == set_name
        and r.numbers("area")
    ]  # fmt: skip
    if not of_rule:
        return None
    handmade, note = of_rule[0].handmade, ""
    seeds = set.intersection(*(set(result.numbers("area")) for result in of_rule))
    everyone = set.union(*(set(range(len(r.condition.folders))) for r in of_rule))
    if seeds != everyone:
        note = f"{rule}: {len(seeds)} of {len(everyone)} seeds are there in every environment."
    aggregates: dict[Number, Aggregate] = {}
    scores: dict[Number, Scores] = {}
    returns: dict[Number, Mapping[str, Seeds]] = {}
    for number in NUMBERS:
        numbers = {
            r.condition.env: [v for seed, v in r.numbers(number).items() if seed in seeds]
            for r in of_rule
        }
        scales = scales_of(results, number)
        returns[number] = even({env: found for env, found in numbers.items() if found})
        scores[number] = normalised(returns[number], scales)
        whole = aggregate(scores[number], rule=handmade)
        if whole is not None:
            aggregates[number] = whole
    if not aggregates:
        return None
    return Overall(rule, handmade, set_name, aggregates, scores, returns, note)


def best_variants(results: Sequence[Result], groups: Mapping[str, str], keep: int) -> list[str]:
    """The `keep` variants of each group with the highest selection score of the last third.

    `groups` gives each variant's group. Without normalised scores on any selection environment a
    variant comes last.
    """
    scores: dict[str, float] = {}
    for result in results:
        variant = result.condition.variant
        found = overall(results, result.condition.rule, "selection") if variant else None
        if found is not None and "late" in found.aggregates:
            value = found.aggregates["late"].iqm.value
            scores[variant] = max(value, scores.get(variant, -np.inf))
    chosen: list[str] = []
    for group in dict.fromkeys(groups.values()):
        members = [name for name in groups if groups[name] == group]
        ranked = sorted(members, key=lambda name: -scores.get(name, -np.inf))
        chosen += ranked[:keep]
    return [name for name in groups if name in chosen]
