"""Numbers of a run, aggregates and intervals, against values worked out by hand."""

import math

import numpy as np
import pytest

from metagenrl.analysis.compare.scores import Normalisation
from metagenrl.analysis.confidence import Interval
from metagenrl.analysis.learning_curves import Curves
from metagenrl.analysis.protocol.aggregates import (
    interquartile_mean,
    mean,
    optimality_gap,
    performance_profile,
)
from metagenrl.analysis.protocol.bootstrap import interval, intervals, resample
from metagenrl.analysis.protocol.chance import share_as_far_apart, spread_by_chance
from metagenrl.analysis.protocol.difference import difference
from metagenrl.analysis.protocol.numbers import area_under_curve, late_mean
from metagenrl.analysis.protocol.scores import (
    aggregate,
    apart,
    even,
    normalised,
    scale,
    worst_over_best,
)


def curves(steps: list[float], returns: list[list[float]]) -> Curves:
    return Curves("E", "rule", np.array(steps, float), np.array(returns, float))


def test_the_area_is_the_curves_mean_height() -> None:
    # 0 -> 4 over 10 steps: 20; 4 -> 2 over 30 steps: 90; 110 over 40 steps
    found = area_under_curve(curves([0, 10, 40], [[0, 4, 2], [1, math.nan, 1]]))
    assert found[0] == pytest.approx(110 / 40)
    assert math.isnan(found[1])
    assert area_under_curve(curves([5], [[7.0]])).tolist() == [7.0]


def test_the_late_mean_is_over_the_last_third_of_the_steps() -> None:
    # 2/3 of 30 is 20: the evaluations at 25 and 30 count, the one at 20 does not
    found = late_mean(curves([0, 10, 20, 25, 30], [[9, 9, 9, 1, 2], [math.nan, 0, 0, 4, 4]]))
    assert found.tolist() == [1.5, 4.0]
    assert late_mean(curves([0, 30], [[5, 6.0]])).tolist() == [6.0]


def test_the_interquartile_mean_leaves_a_quarter_out_at_each_end() -> None:
    assert interquartile_mean(np.array([100.0, 1, 2, 3, 4, 5, 6, -50])) == pytest.approx(3.5)
    assert interquartile_mean(np.array([0.0, 3.0, 9.0])) == pytest.approx(4.0)
    assert interquartile_mean(np.array([[0.0, 1, 2, 30], [4, 4, 4, 4]])).tolist() == [1.5, 4.0]


def test_the_optimality_gap_does_not_reward_what_exceeds_one() -> None:
    assert optimality_gap(np.array([0.5, 2.0, 1.0, -0.5])) == pytest.approx((0.5 + 1.5) / 4)


def test_the_profile_is_the_share_above_each_threshold() -> None:
    found = performance_profile(np.array([[0.0, 0.5, 1.0, 1.0]]), np.array([-1.0, 0.0, 0.5, 1.0]))
    assert found.tolist() == [[1.0, 0.75, 0.5, 0.0]]


def test_a_sample_keeps_a_seeds_agents_together_in_all_environments() -> None:
    # scores name their seed: 10 * seed + agent, and 1000 more in the second environment
    first = np.array([[0.0, 1.0], [10.0, 11.0], [20.0, 21.0]])
    drawn = resample([first, first + 1000], 200, np.random.default_rng(0))
    samples = np.concatenate(drawn, axis=1)
    assert samples.shape == (200, 12)
    seeds = samples.reshape(200, 2, 3, 2) // 10 % 10  # [R, environment, place, agent]
    assert (seeds[:, 0] == seeds[:, 1]).all()
    assert (seeds[..., 0] == seeds[..., 1]).all()
    agents = samples.reshape(200, 2, 3, 2) % 10
    assert (agents[:, 0] != agents[:, 1]).any()  # agents are drawn in each environment anew


def test_agents_of_one_seed_are_one_sample() -> None:
    """Three seeds at 0, 1 and 2 with hundred equal agents each: the interval is the seeds'."""
    scores = {"E": [np.full(100, float(seed)) for seed in range(3)]}
    found = interval(scores, mean)
    # The mean of 3 draws from {0, 1, 2}: P(0) = 1/27 > 2.5 %, so the ends are 0 and 2.
    assert (found.value, found.low, found.high) == (1.0, 0.0, 2.0)
    pooled = interval({"E": [np.concatenate(scores["E"])]}, mean, rule=True)
    assert 0.85 < pooled.low < pooled.high < 1.15  # what taking agents for units would claim


def test_one_seed_has_no_interval_and_a_rule_has_its_agents() -> None:
    learned = interval({"E": [[1.0, 2.0, 3.0]]}, mean)
    assert learned.value == 2.0
    assert math.isnan(learned.low)
    assert math.isnan(learned.high)
    rule = interval({"E": [[1.0, 2.0, 3.0]]}, mean, rule=True)
    assert rule.low < 2.0 < rule.high
    assert interval({"E": [[1.0, 2.0, 3.0]]}, mean, rule=True) == rule  # the same bits


def test_a_profile_has_an_interval_at_each_threshold() -> None:
    scores = {"E": [[0.0], [1.0]]}
    found = intervals(scores, lambda s: performance_profile(s, np.array([-1.0, 0.5, 2.0])))
    assert found.values.tolist() == [1.0, 0.5, 0.0]
    assert (found.low.tolist(), found.high.tolist()) == ([1.0, 0.0, 0.0], [1.0, 1.0, 0.0])


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({}, "scores: got none"),
        ({"E": [[1.0], [1.0, 2.0]]}, r"scores: got \[1, 2\] agents a seed in E"),
        ({"E": [[]]}, r"scores: got \[0\] agents"),
        ({"E": [[math.nan]]}, "scores: got NaN or Inf in E"),
        ({"E": [[1.0]], "F": [[1.0], [2.0]]}, r"scores: got \{'E': 1, 'F': 2\} seeds"),
    ],
)
def test_scores_that_do_not_go_together_are_refused(scores: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        interval(scores, mean)


def test_scores_are_normalised_in_each_environment() -> None:
    numbers = {"random objective": [np.array([-10.0, -6.0])], "td3": [np.array([12.0])]}
    found = scale(numbers)
    assert found == Normalisation(-8.0, "random objective", 12.0, "td3")
    assert scale({"td3": [np.ones(2)]}) is None
    assert scale({"random objective": [np.ones(1)], "td3": [np.ones(1)]}) is None  # not better
    returns = even({"E": [np.array([2.0, 12.0, 0.0]), np.array([-8.0, 22.0])]})
    scores = normalised(returns, {"E": found})
    assert [agents.tolist() for agents in scores["E"]] == [[0.5, 1.0], [0.0, 1.5]]
    assert normalised({"F": [np.ones(1)]}, {"E": found}) == {}


def test_the_spread_is_of_the_seeds_where_it_is_widest() -> None:
    scores = {"E": [[0.8, 1.0], [0.3, 0.6]], "F": [[1.0], [0.8]]}
    assert worst_over_best(scores) == pytest.approx(0.45 / 0.9)
    assert worst_over_best({"E": [[0.8]]}) is None
    assert worst_over_best({"E": [[-0.8], [-0.1]]}) is None


def test_an_aggregate_says_of_what_it_is() -> None:
    found = aggregate({"E": [[0.0], [2.0]], "F": [[1.0], [1.0]]}, rule=False)
    assert found is not None
    assert (found.iqm.value, found.mean.value, found.optimality_gap.value) == (1.0, 1.0, 0.25)
    assert (found.seeds, found.environments) == (2, ("E", "F"))
    assert aggregate({}, rule=False) is None


def test_every_environment_counts_the_same_whatever_it_has_of_agents() -> None:
    scores = {"E": [np.zeros(90)], "F": [np.ones(10)]}
    for summary in (mean, interquartile_mean, optimality_gap):
        assert interval(scores, summary, rule=True).value == 0.5
    of_two = {"random objective": {"E": [np.zeros(3)], "F": [np.zeros(3)]}}
    of_two |= {"td3": {"E": [np.ones(3)], "F": [np.ones(3)]}, "many": scores}
    assert difference(of_two, "many", "random objective", ["E", "F"]).value == 0.5


def test_apart_means_that_intervals_do_not_touch() -> None:
    assert apart(Interval(2, 1.5, 3), Interval(1, 0, 1.4))
    assert not apart(Interval(2, 1.5, 3), Interval(1, 0, 1.5))
    assert not apart(Interval(2, math.nan, math.nan), Interval(1, 0, 1))


def numbers(rule: float, seeds: int = 5, spread: float = 1.0) -> dict:
    """By rule, returns around 0 for the random objective and around 10 for TD3."""
    draw = np.random.default_rng(0)

    def around(centre: float, groups: int, agents: int) -> list[np.ndarray]:
        return [centre + spread * draw.normal(size=agents) for _ in range(groups)]

    levels = {"random objective": (0.0, 1), "td3": (10.0, 1), "rule": (rule, seeds)}
    return {
        name: {env: around(centre, groups, 9 // groups) for env in ("E", "F")}
        for name, (centre, groups) in levels.items()
    }


def test_a_difference_is_of_interquartile_means() -> None:
    exact = difference(numbers(15.0, spread=0.0), "rule", "td3", ("E", "F"))
    assert exact == Interval(0.5, 0.5, 0.5)
    assert difference(numbers(5.0), "td3", "td3", ("E", "F")) == Interval(0.0, 0.0, 0.0)
    found = difference(numbers(15.0), "rule", "td3", ("E", "F"))
    assert found is not None
    assert found.low < 0.5 < found.high
    assert found == difference(numbers(15.0), "rule", "td3", ("E", "F"))  # the same bits


def test_a_difference_knows_that_its_scale_is_uncertain() -> None:
    """Nothing but TD3's agents scatters: a rule at 1.5 is as uncertain as what is 1."""
    given = numbers(15.0, spread=0.0)
    given["td3"] = {env: [np.arange(6.0, 15.0)] for env in ("E", "F")}
    found = difference(given, "rule", "random objective", ("E", "F"))
    assert found is not None
    # The mean of nine draws of 6 ... 14 has a standard deviation of 0.86, two of them together 0.6
    assert found.value == pytest.approx(1.5)
    assert 1.3 < found.low < 1.42
    assert 1.58 < found.high < 1.75


def test_without_a_scale_there_is_no_difference() -> None:
    given = numbers(15.0, spread=0.0)
    given["td3"]["F"] = [np.zeros(9)]
    assert difference(given, "rule", "td3", ("E", "F")) is None
    assert difference(given, "rule", "td3", ("E",)) == Interval(0.5, 0.5, 0.5)


def test_what_agents_noise_alone_makes_of_seeds() -> None:
    learned = {"E": [[1.0], [1.0]], "F": [[1.0, 1.0], [1.0, 1.0]]}
    exact = {"E": [[1.0] * 3], "F": [[1.0] * 3]}
    assert spread_by_chance(exact, learned) == pytest.approx(1.0)
    noisy = {"E": [[0.1, 1.0, 1.9]], "F": [[1.0] * 3]}
    one, many = (
        spread_by_chance(noisy, {"E": [[1.0] * k] * 5, "F": [[1.0] * k] * 5}) for k in (1, 100)
    )
    assert one == pytest.approx(0.1 / 1.9)
    assert many is not None
    assert 0.7 < many < 1.0  # the noise of many agents is small
    assert spread_by_chance({"E": [[1.0] * 3]}, learned) is None  # not in every environment
    assert spread_by_chance({"E": [[1.0] * 2], "F": [[1.0] * 3]}, learned) is None
    assert spread_by_chance(exact, {"E": [[1.0, 1.0]]}) is None  # a single seed


def test_how_often_agents_alone_lie_as_far_apart() -> None:
    apart_seeds = [[0.0, 0.1], [5.0, 5.1], [9.0, 9.1]]
    # 15 ways to pair six agents, of which one has the means as far apart; seeds have no order.
    assert share_as_far_apart(apart_seeds) == pytest.approx(1 / 15, abs=0.02)
    assert share_as_far_apart([[1.0, 2.0], [2.0, 1.0]]) == 1.0
    assert share_as_far_apart([[1.0, 2.0]]) is None
    assert share_as_far_apart([[1.0], [2.0]]) is None
