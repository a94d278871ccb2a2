"""What a card says of tests: both numbers of every rule in every environment."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metagenrl.analysis.compare.read import comparable, read_rows
from metagenrl.analysis.compare.same import digest, labels, parameters_of
from metagenrl.analysis.confidence import Interval, mean_interval
from metagenrl.analysis.number_text import markdown_table, with_interval
from metagenrl.analysis.protocol.numbers import NUMBERS, TITLES, Number
from metagenrl.base.checks import UsageError


@dataclass(frozen=True)
class TestScore:
    """One rule's agents in one environment."""

    __test__ = False  # for pytest, which takes the name for a test's

    env: str
    rule: str
    steps: int
    agents: int  # that have finished
    absent: int  # that have not
    numbers: dict[Number, Interval]  # of those that have finished, if any
    own: bool  # whether the card's objective trained them


def test_scores(folders: Sequence[Path], alpha: NDArray[np.float32]) -> list[TestScore]:
    """The scores of the runs that the folders are or hold; intervals by Student's t over agents.

    `alpha`: the parameters of the card's objective.

    Raises `UsageError` for a folder without any, where none of them tests the card's objective, and
    for runs of different lengths in one environment.
    """
    rows = read_rows(folders)
    runs = list({tested.run.path: tested.run for tested in rows}.values())
    names = labels(runs)
    own = {names[run.path] for run in runs if parameters_of(run) == digest(alpha)}
    if not own:
        there = ", ".join(dict.fromkeys(names.values()))
        raise UsageError(
            f"tests: got {', '.join(map(str, folders))} ({there}), allowed: at least one test of "
            "the card's objective, in the version that the card is of"
        )
    found = []
    for score in comparable(rows, mix_steps=False, mix_versions=False, flags=False):
        curve, numbers = score.curve, {}
        last = curve.returns[:, curve.steps == score.steps]
        ended = np.asarray(np.isfinite(last).any(axis=1))
        for number, of in NUMBERS.items():
            values = of(curve)
            values = values[ended & np.isfinite(values)]
            if values.size:
                estimate = mean_interval(values)
                low, high = estimate.mean - estimate.half_width, estimate.mean + estimate.half_width
                numbers[number] = Interval(estimate.mean, low, high)
        agents = int(ended.sum())
        absent = ended.size - agents + curve.absent
        whose = curve.label in own
        found.append(TestScore(curve.env, curve.label, score.steps, agents, absent, numbers, whose))
    return found


test_scores.__test__ = False  # type: ignore[attr-defined]


def scores_table(scores: Sequence[TestScore], trained_in: Collection[str]) -> str:
    """A Markdown table, environments of the meta-training marked."""
    header = ("environment", "set", "trained by", "steps", *TITLES.values(), "agents")
    rows = []
    for score in scores:
        found = [score.numbers.get(number) for number in NUMBERS]
        cells = ["-" if n is None else with_interval(n.value, n.low, n.high) for n in found]
        agents = str(score.agents) + (f" ({score.absent} more failed)" if score.absent else "")
        name = "meta-training" if score.env in trained_in else "test"
        rows.append((score.env, name, score.rule, f"{score.steps:,}", *cells, agents))
    return markdown_table(header, rows)
