"""Means, interquartile means and their bootstrap intervals against numbers known otherwise."""

import itertools
import math

import numpy as np
import pytest
from rliable import library, metrics

from metagenrl.analysis.confidence import (
    Interval,
    _estimate,
    _interquartile_mean,
    _mean,
    iqm_curve,
    iqm_with_interval,
    mean_with_interval,
)


def test_the_middle_half_by_hand() -> None:
    # 8 scores: the lowest and the highest two are cut off.
    scores = [-1e6, 3.0, 1.0, 2.0, 4.0, 0.0, 5.0, 1e9]
    assert iqm_with_interval(scores).value == (1 + 2 + 3 + 4) / 4
    assert mean_with_interval([1.0, 2.0, 6.0]).value == 3.0
    # Fewer than four scores: nothing is cut off.
    assert iqm_with_interval([1.0, 2.0, 6.0]).value == 3.0


def test_the_interval_is_the_bootstrap_distributions() -> None:
    """All 27 samples of three agents, drawn with replacement, are equally likely."""
    scores = [0.0, 1.0, 10.0]
    means = np.sort([np.mean(sample) for sample in itertools.product(scores, repeat=3)])
    estimate = mean_with_interval(scores)
    # 2.5 % of the samples lie below the first of 27 (1/27 = 3.7 %), as many above the last.
    assert estimate == Interval(11 / 3, means[0], means[-1])
    # Ten agents: the percentiles are near those of the normal distribution.
    spread = np.arange(10.0)
    wide = mean_with_interval(spread)
    error = np.std(spread) / math.sqrt(10)
    assert wide.low == pytest.approx(4.5 - 1.96 * error, abs=0.15)
    assert wide.high == pytest.approx(4.5 + 1.96 * error, abs=0.15)


def test_agents_are_resampled_within_their_environment() -> None:
    # Where the agents of each environment agree, resampling them changes nothing.
    estimate = mean_with_interval({"A": [0.0, 0.0, 0.0], "B": [1.0, 1.0, 1.0]})
    assert estimate == Interval(0.5, 0.5, 0.5)


def test_environments_are_pooled_as_rliable_does() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(5, 3))
    scores = {str(env): table[:, env] for env in range(3)}
    assert iqm_with_interval(scores).value == pytest.approx(metrics.aggregate_iqm(table))
    assert mean_with_interval(scores).value == pytest.approx(metrics.aggregate_mean(table))


@pytest.mark.parametrize("shape", [(2, 1, 1), (5, 3, 1), (6, 1, 4)])
@pytest.mark.parametrize("kind", [_mean, _interquartile_mean])
def test_intervals_are_those_of_rliable_to_the_bit(shape, kind) -> None:
    table = np.random.default_rng(3).normal(size=shape)
    found = _estimate(table, kind, 200)
    np.random.seed(0)
    values, intervals = library.get_interval_estimates({"": table}, kind, reps=200)
    np.testing.assert_array_equal(found.values, values[""])
    np.testing.assert_array_equal([found.low, found.high], intervals[""])


def test_a_curve_is_an_estimate_at_each_evaluation() -> None:
    returns = np.random.default_rng(1).normal(size=(6, 3))
    curve = iqm_curve(returns)
    for step in range(3):
        alone = iqm_with_interval(returns[:, step])
        assert curve.values[step] == pytest.approx(alone.value)
        assert curve.low[step] == pytest.approx(alone.low, abs=0.1)
        assert curve.high[step] == pytest.approx(alone.high, abs=0.1)
        assert curve.low[step] < curve.values[step] < curve.high[step]


def test_the_same_scores_give_the_same_bits_and_leave_numpys_generator_alone() -> None:
    np.random.seed(7)
    untouched = np.random.random(2)
    np.random.seed(7)
    first = [np.random.random()]
    estimates = [iqm_with_interval([1.0, 4.0, 2.0, 9.0, 3.0]) for _ in range(2)]
    assert estimates[0] == estimates[1]
    assert [*first, np.random.random()] == list(untouched)


def test_one_agent_has_no_interval() -> None:
    estimate = iqm_with_interval([3.0])
    assert estimate.value == 3.0
    assert math.isnan(estimate.low)
    assert math.isnan(estimate.high)


@pytest.mark.parametrize(
    ("scores", "complaint"),
    [
        ([], "scores: got none"),
        ({}, "scores: got none"),
        ([1.0, math.nan], "scores: got NaN or Inf"),
        ({"A": [1.0], "B": [1.0, 2.0]}, r"scores: got \[1, 2\] agents"),
    ],
)
def test_what_has_no_statistics_is_refused(scores: object, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        mean_with_interval(scores)  # type: ignore[arg-type]
