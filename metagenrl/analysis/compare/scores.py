"""Agents of several rules compared: scores at the end, normalised scores, and their aggregates.

The unit is one agent, a seed of a run of `metagenrl test` or `metagenrl baseline`; agents with the
same label and environment belong together, from whichever folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from metagenrl.analysis.confidence import Interval, iqm_with_interval, mean_with_interval
from metagenrl.analysis.learning_curves import Array, Curves
from metagenrl.base.wording import counted

REFERENCE = "td3"
"""Label of the rule whose mean is the normalised score 1, where it is there."""
CONTROL = "random"
"""How the label of the untrained control begins; its mean is the normalised score 0."""
ALL = "all, normalised"
"""Stands for the environment in rows over several."""


@dataclass(frozen=True)
class Scores:
    """The scores of one rule's agents in one environment."""

    curve: Curves
    steps: int  # at which it is compared
    episodes: int | None = None  # of each evaluation, where that is known

    @property
    def final(self) -> Array:
        """[F] returns of the agents that were evaluated at `steps`."""
        at_end = self.curve.returns[:, self.curve.steps == self.steps]  # [K, 0 or 1]
        known: Array = at_end[np.isfinite(at_end)]
        return known

    @property
    def untrained(self) -> Array:
        """[U] returns before the first step, of the agents that were evaluated then."""
        at_start = self.curve.returns[:, self.curve.steps == 0]
        known: Array = at_start[np.isfinite(at_start)]
        return known


@dataclass(frozen=True)
class Normalisation:
    """score = (return - zero) / (one - zero), in one environment."""

    zero: float
    zero_by: str
    one: float
    one_by: str

    def __call__(self, returns: Array) -> Array:
        """Normalised scores of any shape."""
        return (returns - self.zero) / (self.one - self.zero)


@dataclass(frozen=True)
class Line:
    """A rule in an environment, or in `ALL` of them."""

    environment: str
    label: str
    steps: int | None  # None over several environments
    mean: Interval
    iqm: Interval
    agents: int  # that the statistics are of; over several environments, in each
    unfinished: int


@dataclass(frozen=True)
class Comparison:
    """Everything there is to print and to draw."""

    scores: Sequence[Scores]
    lines: Sequence[Line]
    overall: Sequence[Line]
    normalisations: Mapping[str, Normalisation]  # by environment
    notes: Sequence[str]


def compare(scores: Sequence[Scores]) -> Comparison:
    """The statistics of every rule in every environment, and over all environments.

    Over several environments, scores are normalised in each, and every rule counts that has
    finished agents in all that can be normalised.
    """
    envs = list(dict.fromkeys(score.curve.env for score in scores))
    lines = [_line(score) for score in scores if score.final.size]
    notes = [
        f"{score.curve.label} has no finished agent in {score.curve.env}."
        for score in scores
        if not score.final.size
    ]
    notes += [note for env in envs if (note := _unequal_episodes(env, scores))]
    if len(envs) < 2:
        return Comparison(scores, lines, [], {}, notes)
    normalisations = {}
    for env in envs:
        found = normalisation([score for score in scores if score.curve.env == env])
        if found is None:
            notes.append(
                f"{env} is left out of the aggregate: nothing there does better than what would be "
                "0 (the random objective, or the untrained policies)."
            )
        else:
            normalisations[env] = found
    if len(normalisations) < 2:
        notes.append(f"No aggregate: {counted(len(normalisations), 'environment')} left.")
        return Comparison(scores, lines, [], normalisations, notes)
    overall = []
    for label in dict.fromkeys(score.curve.label for score in scores):
        of_label = [score for score in scores if score.curve.label == label]
        line, note = _overall(label, of_label, normalisations)
        overall += [line] if line else []
        notes += [note] if note else []
    return Comparison(scores, lines, overall, normalisations, notes)


def _unequal_episodes(env: str, scores: Sequence[Scores]) -> str:
    """What is to be said where the rules were not measured alike in an environment, or nothing."""
    labels: dict[int, list[str]] = {}
    for score in scores:
        if score.curve.env == env and score.episodes is not None:
            labels.setdefault(score.episodes, []).append(score.curve.label)
    if len(labels) < 2:
        return ""
    measured = "; ".join(f"{count} for {', '.join(labels[count])}" for count in sorted(labels))
    return f"Episodes of each evaluation in {env}: {measured}. Fewer episodes scatter more."


def _line(score: Scores) -> Line:
    return Line(
        score.curve.env,
        score.curve.label,
        score.steps,
        mean_with_interval(score.final),
        iqm_with_interval(score.final),
        len(score.final),
        len(score.curve.returns) + score.curve.absent - len(score.final),
    )


def normalisation(scores: Sequence[Scores]) -> Normalisation | None:
    """Scores of one environment: 0 is the untrained control, 1 is `REFERENCE`.

    In place of a missing control stand the policies before their first step, in place of a missing
    reference the best rule. None where the reference is not better than the control.
    """
    means = {s.curve.label: float(s.final.mean()) for s in scores if s.final.size}
    controls = [label for label in means if label.startswith(CONTROL)]
    untrained = np.concatenate([score.untrained for score in scores])
    if controls:
        zero, zero_by = means[controls[0]], controls[0]
    elif untrained.size:
        zero, zero_by = float(untrained.mean()), "untrained policies"
    else:
        return None
    if not means:
        return None
    one_by = REFERENCE if REFERENCE in means else max(means, key=lambda label: means[label])
    return Normalisation(zero, zero_by, means[one_by], one_by) if means[one_by] > zero else None


def _overall(
    label: str, scores: Sequence[Scores], normalisations: Mapping[str, Normalisation]
) -> tuple[Line | None, str]:
    """A rule's line over all normalised environments, and what is to be said about it."""
    by_env = {s.curve.env: s for s in scores if s.curve.env in normalisations and s.final.size}
    missing = [env for env in normalisations if env not in by_env]
    if missing:
        return None, f"{label} has no aggregate: no finished agent in {', '.join(missing)}."
    normalised = {env: normalisations[env](score.final) for env, score in by_env.items()}
    count = min(map(len, normalised.values()))
    note = ""
    if count < max(map(len, normalised.values())):
        note = f"Aggregate of {label}: the first {counted(count, 'agent')} of each environment."
    taken = {env: values[:count] for env, values in normalised.items()}
    unfinished = sum(len(s.curve.returns) + s.curve.absent - len(s.final) for s in scores)
    mean, iqm = mean_with_interval(taken), iqm_with_interval(taken)
    return Line(ALL, label, None, mean, iqm, count, unfinished), note
