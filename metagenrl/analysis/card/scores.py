"""What a card says of tests: both numbers of every rule in every environment."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metagenrl.analysis.compare.read import comparable, read_rows
from metagenrl.analysis.confidence import Interval, mean_interval
from metagenrl.analysis.number_text import markdown_table, with_interval
from metagenrl.analysis.protocol.numbers import NUMBERS, TITLES, Number


@dataclass(frozen=True)
class TestScore:
    """One rule's agents in one environment."""

    __test__ = False  # for pytest, which takes the name for a test's

    env: str
    rule: str
    steps: int
    agents: int
    numbers: dict[Number, Interval]


def test_scores(folders: Sequence[Path]) -> list[TestScore]:
    """The scores of the runs that the folders are or hold; intervals by Student's t over agents.

    Raises `UsageError` for a folder without any, and for runs of different lengths in one
    environment.
    """
    found = []
    for score in comparable(read_rows(folders), mix_steps=False, mix_versions=False):
        curve, numbers = score.curve, {}
        for number, of in NUMBERS.items():
            values = of(curve)
            values = values[np.isfinite(values)]
            if values.size:
                estimate = mean_interval(values)
                low, high = estimate.mean - estimate.half_width, estimate.mean + estimate.half_width
                numbers[number] = Interval(estimate.mean, low, high)
        if numbers:
            agents = int(np.isfinite(NUMBERS["late"](curve)).sum())
            found.append(TestScore(curve.env, curve.label, score.steps, agents, numbers))
    return found


test_scores.__test__ = False  # type: ignore[attr-defined]


def scores_table(scores: Sequence[TestScore], trained_in: Collection[str]) -> str:
    """A Markdown table, environments of the meta-training marked."""
    header = ("environment", "set", "trained by", "steps", *TITLES.values(), "agents")
    rows = []
    for score in scores:
        cells = [
            with_interval(interval.value, interval.low, interval.high)
            for interval in (score.numbers[number] for number in NUMBERS)
        ]
        name = "meta-training" if score.env in trained_in else "test"
        rows.append((score.env, name, score.rule, f"{score.steps:,}", *cells, str(score.agents)))
    return markdown_table(header, rows)
