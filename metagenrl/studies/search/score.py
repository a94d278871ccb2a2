"""What points are compared by while a search runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from metagenrl.analysis.compare.scores import Normalisation
from metagenrl.studies.plan import Condition, Plan
from metagenrl.studies.results import Result, read_results, scales_of


def score_of(plan: Plan) -> float:
    """The mean over a point's environments of what its agents reached; NaN where it is not known.

    That is the last third of their evaluations, in normalised scores where the random objective and
    TD3 are there.
    """
    conditions: Sequence[Condition] = plan.conditions or [
        Condition("point", _environment(job.words), "test", (job.folder,), "point")
        for job in plan.jobs
    ]
    results = read_results(conditions)
    scales: Mapping[str, Normalisation] = scales_of(results, "late")
    found = [_score(result, scales) for result in results if not result.handmade]
    return sum(found) / len(found) if found else float("nan")


def _score(result: Result, scales: Mapping[str, Normalisation]) -> float:
    interval, scale = result.interval("late"), scales.get(result.condition.env)
    if interval is None:
        return float("nan")
    value = interval.value
    return value if scale is None else (value - scale.zero) / (scale.one - scale.zero)


def _environment(words: Sequence[str]) -> str:
    return words[words.index("--env") + 1]
