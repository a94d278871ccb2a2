"""A study in one picture: learning curves by environment, aggregates, performance profile."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from metagenrl.analysis.learning_curves import Array, Curves, drawable
from metagenrl.analysis.pictures.meta_tests import curves_block, student_t_band
from metagenrl.analysis.pictures.panels import draw
from metagenrl.analysis.pictures.protocol import THRESHOLDS, Bar, protocol_block
from metagenrl.analysis.protocol.aggregates import weighted_profile
from metagenrl.analysis.protocol.bootstrap import intervals
from metagenrl.studies.recipe import Recipe
from metagenrl.studies.results import Overall, Result


def draw_study(
    recipe: Recipe, results: Sequence[Result], everything: Sequence[Overall], path: Path
) -> Path | None:
    """Write the picture, unless there is nothing to draw yet."""
    if not results:
        return None
    labels = list(dict.fromkeys(result.condition.rule for result in results))
    curves = [
        drawable(units(result))
        for result in sorted(results, key=lambda r: labels.index(r.condition.rule))
    ]
    title = "Return of new agents (mean, 95 % interval, each meta-training seed or agent of a rule)"
    titled = functools.partial(_titled, recipe, results)
    blocks = [curves_block(title, curves, titled, student_t_band)]
    for name in ("test", "selection", "meta-training"):
        bars = [_bar(each) for each in everything if each.set == name and len(each.aggregates) == 2]
        title = f"Over the {name} environments: 0 is the random objective, 1 is TD3"
        blocks.append(protocol_block(title, bars, labels))
    return draw(recipe.title, blocks, path)


def units(result: Result) -> Curves:
    """One curve for each unit of the statistics: a seed's mean over agents, or a rule's agent."""
    if result.handmade:
        curves = next(iter(result.curves.values()))
        return replace(curves, label=result.condition.rule)
    steps = np.unique(np.concatenate([curves.steps for curves in result.curves.values()]))
    rows: list[Array] = []
    for curves in result.curves.values():
        row = np.full(steps.size, np.nan)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a step without any agent is NaN
            row[np.searchsorted(steps, curves.steps)] = np.nanmean(curves.returns, axis=0)
        rows.append(row)
    env, rule = result.condition.env, result.condition.rule
    return Curves(env, rule, steps, np.stack(rows), np.array([*result.curves]))


def _titled(recipe: Recipe, results: Sequence[Result], env: str) -> str:
    """The environment with the sets that it belongs to."""
    of_env = [r for r in results if r.condition.env == env and not r.handmade]
    sets = list(dict.fromkeys(r.condition.set for r in of_env)) or [recipe.set_of(env, "")]
    name = re.sub(r"^[\w.]+:", "", env)  # without its module: titles stand side by side
    return f"{name} ({', '.join(sets)})"


def _bar(each: Overall) -> Bar:
    profile = intervals(
        each.scores["late"], lambda s, w: weighted_profile(s, w, THRESHOLDS), 1_000, each.handmade
    )
    return Bar(each.rule, each.aggregates["area"].iqm, each.aggregates["late"].iqm, profile)
