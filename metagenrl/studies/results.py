"""What a study's agents reached: their two numbers by seed, and scores over environments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from metagenrl.analysis.compare.scores import Normalisation
from metagenrl.analysis.confidence import Interval
from metagenrl.analysis.learning_curves import Curves, read_curves
from metagenrl.analysis.protocol.aggregates import weighted_mean
from metagenrl.analysis.protocol.bootstrap import Scores, interval
from metagenrl.analysis.protocol.crossed import Crossed, joined
from metagenrl.analysis.protocol.numbers import NUMBERS, Number
from metagenrl.analysis.protocol.scores import Aggregate, aggregate, normalised, scale
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

    def numbers(self, number: Number) -> Crossed | None:
        """The agents' numbers, without agents that are not finished; None without agents."""
        found = [
            Crossed(NUMBERS[number](curves), np.full(len(curves.seeds), place), curves.seeds)
            for place, curves in self.curves.items()
        ]
        together = joined(found)
        known = together.where(np.isfinite(together.values))
        return known if known.values.size else None

    @property
    def unfinished(self) -> int:
        """Agents with evaluations but none at the last step: they failed, or still train."""
        return sum(curves.unfinished for curves in self.curves.values())

    def agents(self, number: Number) -> list[int]:
        """How many agents have the number, by seed."""
        found = self.numbers(number)
        return [] if found is None else [len(values) for values in found.by_seed().values()]

    def interval(self, number: Number) -> Interval | None:
        """Mean return with its interval; None without agents."""
        found = self.numbers(number)
        if found is None:
            return None
        return interval({self.condition.env: found}, weighted_mean, rule=self.handmade)


@dataclass(frozen=True, eq=False)
class Overall:
    """A rule over the environments of one set, by both numbers."""

    rule: str
    handmade: bool
    set: str
    aggregates: Mapping[Number, Aggregate]
    scores: Mapping[Number, Scores]
    numbers: Mapping[Number, Scores]
    """The returns that `scores` were made of."""
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
            r.condition.rule: of
            for r in results
            if r.condition.env == env and r.handmade and (of := r.numbers(number))
        }
        normalisation = scale(rules)
        if normalisation is not None:
            found[env] = normalisation
    return found


def overall(results: Sequence[Result], rule: str, set_name: str) -> Overall | None:
    """A rule's aggregates over the environments of a set; None where nothing can be said.

    A meta-training seed counts that has agents in all of them.
    """
    of_rule = [r for r in results if (r.condition.rule, r.condition.set) == (rule, set_name)]
    found = {r: of for r in of_rule if (of := r.numbers("area"))}
    if not found:
        return None
    handmade, note = of_rule[0].handmade, ""
    seeds = set.intersection(*(set(of.by_seed()) for of in found.values()))
    everyone = set.union(*(set(range(len(r.condition.folders))) for r in found))
    if seeds != everyone:
        note = f"{rule}: {len(seeds)} of {len(everyone)} seeds are there in every environment."
    aggregates: dict[Number, Aggregate] = {}
    scores: dict[Number, Scores] = {}
    returns: dict[Number, Scores] = {}
    for number in NUMBERS:
        numbers = {r.condition.env: of for r in found if (of := r.numbers(number))}
        counted = {env: of.where(np.isin(of.seeds, [*seeds])) for env, of in numbers.items()}
        returns[number] = {env: of for env, of in counted.items() if of.values.size}
        scores[number] = normalised(returns[number], scales_of(results, number))
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
