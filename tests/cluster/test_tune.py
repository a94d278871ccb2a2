"""The points that Ray Tune's Optuna chooses, as the folders of a sweep are named."""

import pytest

from metagenrl.cluster.tune import OptunaPoints
from metagenrl.studies.sweep import Random

RANGES = {
    "polyak": {"low": 0.00123456, "high": 0.0987654, "log": True},
    "gamma": {"low": 0.9, "high": 0.99},
    "hidden-units": {"low": 8, "high": 9, "whole": True},
    "batch-size": {"low": 2, "high": 64, "whole": True, "log": True},
    "label": ["a", [1, 2], None],
}


@pytest.fixture(autouse=True)
def _needs_optuna() -> None:
    pytest.importorskip("optuna")


def test_suggestions_are_points_as_they_are_drawn() -> None:
    chooser = OptunaPoints(Random(RANGES, points=40, seed=3))
    points = [chooser.suggest(number) for number in range(40)]
    assert all(list(point) == list(RANGES) for point in points)
    for name in ("polyak", "gamma"):
        assert all(point[name] == float(f"{point[name]:.4g}") for point in points)
    assert {point["hidden-units"] for point in points} == {8, 9}
    assert all(isinstance(p["batch-size"], int) and 2 <= p["batch-size"] <= 64 for p in points)
    assert {str(point["label"]) for point in points} == {"a", "[1, 2]", "None"}
    again = OptunaPoints(Random(RANGES, points=40, seed=3))
    assert [again.suggest(number) for number in range(40)] == points
    other = OptunaPoints(Random(RANGES, points=40, seed=4))
    assert other.suggest(0) != points[0]


@pytest.mark.parametrize("told", [True, False])
def test_it_goes_where_scores_are_high(told: bool) -> None:
    """Both through what it is told, and through what it knows from before."""
    options = {"x": {"low": 0.0, "high": 1.0}}
    chooser = OptunaPoints(Random(options, seed=1))
    for number in range(60):
        if told:
            chooser.tell(number, -abs(chooser.suggest(number)["x"] - 0.3))
        else:
            chooser.know({"x": number / 60}, -abs(number / 60 - 0.3))
    found = [chooser.suggest(100 + number)["x"] for number in range(20)]
    assert sum(abs(x - 0.3) < 0.15 for x in found) > 12  # by chance six


def test_what_was_rounded_beyond_the_range_and_what_failed_are_taken() -> None:
    chooser = OptunaPoints(Random(RANGES))
    low = {"polyak": 0.001234, "gamma": 0.9, "hidden-units": 8, "batch-size": 2, "label": [1, 2]}
    chooser.know(low, 1.0)
    chooser.know({**low, "polyak": 0.09877, "label": None}, 2.0)
    chooser.suggest(1)
    chooser.tell(1, None)
    assert set(chooser.suggest(2)) == set(RANGES)
