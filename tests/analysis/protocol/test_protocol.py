"""Numbers of a run, aggregates and intervals, against values worked out by hand."""

import math

import numpy as np
import pytest

from metagenrl.analysis.compare.scores import Normalisation
from metagenrl.analysis.confidence import Interval
from metagenrl.analysis.learning_curves import Curves
from metagenrl.analysis.protocol.aggregates import (
    interquartile_mean,
    weighted_interquartile_mean,
    weighted_mean,
    weighted_optimality_gap,
    weighted_profile,
)
from metagenrl.analysis.protocol.bootstrap import (
    agent_weights,
    interval,
    intervals,
    sampled_weights,
)
from metagenrl.analysis.protocol.chance import share_as_far_apart, share_of_agents, spread_by_chance
from metagenrl.analysis.protocol.crossed import Crossed, joined
from metagenrl.analysis.protocol.difference import difference
from metagenrl.analysis.protocol.numbers import area_under_curve, late_mean
from metagenrl.analysis.protocol.scores import (
    aggregate,
    apart,
    normalised,
    scale,
    worst_over_best,
)


def curves(steps: list[float], returns: list[list[float]]) -> Curves:
    seeds = np.arange(len(returns))
    return Curves("E", "rule", np.array(steps, float), np.array(returns, float), seeds)


def agents(*seeds: object) -> Crossed:
    """Numbers of agents 0, 1, ... of each seed."""
    arrays = [np.asarray(numbers, float) for numbers in seeds]
    parts = [Crossed(v, np.full(v.size, s), np.arange(v.size)) for s, v in enumerate(arrays)]
    return joined(parts)


def equal(count: int) -> np.ndarray:
    return np.full((1, count), 1 / count)


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


def test_a_weighted_score_counts_in_part_at_the_border_of_the_middle_half() -> None:
    eight = np.array([100.0, 1, 2, 3, 4, 5, 6, -50])
    assert weighted_interquartile_mean(eight, equal(8)) == pytest.approx([3.5])
    # Of three thirds, a quarter is cut at each end: 1/12, 4/12, 1/12 are left, of 1/2 together.
    assert weighted_interquartile_mean(np.array([9.0, 0, 3]), equal(3)) == pytest.approx([3.5])
    weights = np.array([[0.7, 0.1, 0.1, 0.1], [0.0, 0.0, 0.5, 0.5]])
    scores = np.array([4.0, 0, 1, 2])
    assert weighted_interquartile_mean(scores, weights) == pytest.approx([3.8, 1.5])
    both = np.stack([scores, scores + 10])  # other scores in each sample
    assert weighted_interquartile_mean(both, weights) == pytest.approx([3.8, 11.5])


def test_the_optimality_gap_does_not_reward_what_exceeds_one() -> None:
    found = weighted_optimality_gap(np.array([0.5, 2.0, 1.0, -0.5]), equal(4))
    assert found == pytest.approx([(0.5 + 1.5) / 4])


def test_the_profile_is_the_share_above_each_threshold() -> None:
    thresholds = np.array([-1.0, 0.0, 0.5, 1.0])
    found = weighted_profile(np.array([0.0, 0.5, 1.0, 1.0]), equal(4), thresholds)
    assert found.tolist() == [[1.0, 0.75, 0.5, 0.0]]


def test_a_sample_weighs_seeds_and_agents() -> None:
    """A seed's weight is the same in all environments, an agent's under all seeds."""
    scores = {"E": agents([0, 0], [0, 0], [0, 0]), "F": agents([0, 0], [0, 0], [0, 0])}
    random = np.random.default_rng(0)
    of_agents = {env: agent_weights([of], 50, random) for env, of in scores.items()}
    found = sampled_weights(scores, of_agents, 50, random).reshape(50, 2, 3, 2)
    assert found.sum(axis=(1, 2, 3)) == pytest.approx(np.ones(50))
    of_seeds = found.sum(axis=3) / found.sum(axis=(2, 3))[..., None]  # [R, environment, seed]
    assert of_seeds[:, 0] == pytest.approx(of_seeds[:, 1])
    assert of_seeds.std(axis=0).min() > 0.1
    within = found / found.sum(axis=3, keepdims=True)  # [R, environment, seed, agent]
    assert within[:, :, 0] == pytest.approx(within[:, :, 2])
    assert abs(within[:, 0] - within[:, 1]).max() > 0.5, "drawn in each environment anew"


@pytest.mark.parametrize("count", [3, 5, 18])
def test_an_interval_of_few_units_is_as_wide_as_it_should_be(count: int) -> None:
    """Over many sets of normal numbers, the samples' variance is that of a mean."""
    random = np.random.default_rng(1)
    variances = []
    for _ in range(300):
        of = agents(random.normal(size=count))
        weights = sampled_weights(
            {"E": of}, {"E": agent_weights([of], 2_000, random)}, 2_000, random
        )
        variances.append(weighted_mean(of.values, weights).var())
    assert np.mean(variances) == pytest.approx(1 / count, rel=0.12)


def test_agents_of_one_seed_are_one_sample() -> None:
    """Three seeds at 0, 1 and 2 with hundred equal agents each: the interval is the seeds'."""
    scores = {"E": agents(*(np.full(100, seed) for seed in range(3)))}
    found = interval(scores, weighted_mean)
    assert found.value == pytest.approx(1.0)
    assert found.low < 0.1
    assert found.high > 1.9
    pooled = interval({"E": agents(scores["E"].values)}, weighted_mean, rule=True)
    assert 0.85 < pooled.low < pooled.high < 1.15  # what taking agents for units would claim


def test_one_number_of_agent_is_one_sample() -> None:
    """Five seeds that make no difference, three agents that do: fifteen agents are three."""
    few = interval({"E": agents(*([0, 1, 2] for _ in range(5)))}, weighted_mean)
    assert few.value == pytest.approx(1.0)
    assert few.low < 0.1
    assert few.high > 1.9
    # The same numbers of fifteen agents that are all different.
    seeds, numbers = np.repeat(np.arange(5), 3), np.arange(15)
    many = interval({"E": Crossed(np.tile([0.0, 1, 2], 5), seeds, numbers)}, weighted_mean)
    assert few.low < many.low - 0.2
    assert many.high + 0.2 < few.high


def test_one_seed_has_no_interval_and_a_rule_has_its_agents() -> None:
    learned = interval({"E": agents([1, 2, 3])}, weighted_mean)
    assert learned.value == 2.0
    assert math.isnan(learned.low)
    assert math.isnan(learned.high)
    rule = interval({"E": agents([1, 2, 3])}, weighted_mean, rule=True)
    assert rule.low < 2.0 < rule.high
    assert interval({"E": agents([1, 2, 3])}, weighted_mean, rule=True) == rule  # the same bits


def test_a_profile_has_an_interval_at_each_threshold() -> None:
    thresholds = np.array([-1.0, 0.5, 2.0])
    scores = {"E": agents([0], [1])}
    found = intervals(scores, lambda s, w: weighted_profile(s, w, thresholds))
    assert found.values == pytest.approx([1.0, 0.5, 0.0])
    assert found.low == pytest.approx([1.0, 0.0, 0.0], abs=0.01)
    assert found.high == pytest.approx([1.0, 1.0, 0.0], abs=0.01)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({}, "scores: got none"),
        ({"E": agents([])}, "scores: got none"),
        ({"E": agents([math.nan])}, "scores: got NaN or Inf in E"),
    ],
)
def test_scores_that_say_nothing_are_refused(scores: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        interval(scores, weighted_mean)


def test_scores_are_normalised_in_each_environment() -> None:
    numbers = {"random objective": agents([-10, -6]), "td3": agents([12])}
    found = scale(numbers)
    assert found == Normalisation(-8.0, "random objective", 12.0, "td3")
    assert scale({"td3": agents([1, 1])}) is None
    assert scale({"random objective": agents([1]), "td3": agents([1])}) is None  # not better
    scores = normalised({"E": agents([2, 12, 0], [-8, 22])}, {"E": found})
    assert scores["E"].values.tolist() == [0.5, 1.0, 0.4, 0.0, 1.5]
    assert scores["E"].seeds.tolist() == [0, 0, 0, 1, 1]
    assert normalised({"F": agents([1])}, {"E": found}) == {}


def test_the_spread_is_of_the_seeds_where_it_is_widest() -> None:
    scores = {"E": agents([0.8, 1.0], [0.3, 0.6]), "F": agents([1.0], [0.8])}
    assert worst_over_best(scores) == pytest.approx(0.45 / 0.9)
    assert worst_over_best({"E": agents([0.8])}) is None
    assert worst_over_best({"E": agents([-0.8], [-0.1])}) is None


def test_an_aggregate_says_of_what_it_is() -> None:
    found = aggregate({"E": agents([0], [2]), "F": agents([1], [1])}, rule=False)
    assert found is not None
    assert (found.iqm.value, found.mean.value, found.optimality_gap.value) == (1.0, 1.0, 0.25)
    assert (found.seeds, found.environments) == (2, ("E", "F"))
    assert aggregate({}, rule=False) is None


def test_every_environment_counts_the_same_whatever_it_has_of_agents() -> None:
    scores = {"E": agents(np.zeros(90)), "F": agents(np.ones(10))}
    for summary in (weighted_mean, weighted_interquartile_mean, weighted_optimality_gap):
        assert interval(scores, summary, rule=True).value == pytest.approx(0.5)
    of_two = {"random objective": {"E": agents(np.zeros(3)), "F": agents(np.zeros(3))}}
    of_two |= {"td3": {"E": agents(np.ones(3)), "F": agents(np.ones(3))}, "many": scores}
    found = difference(of_two, "many", "random objective", ["E", "F"])
    assert found.value == pytest.approx(0.5)


def test_apart_means_that_intervals_do_not_touch() -> None:
    assert apart(Interval(2, 1.5, 3), Interval(1, 0, 1.4))
    assert not apart(Interval(2, 1.5, 3), Interval(1, 0, 1.5))
    assert not apart(Interval(2, math.nan, math.nan), Interval(1, 0, 1))


def numbers(rule: float, seeds: int = 5, spread: float = 1.0) -> dict:
    """By rule, returns around 0 for the random objective and around 10 for TD3."""
    draw = np.random.default_rng(0)

    def around(centre: float, groups: int, count: int) -> Crossed:
        return agents(*(centre + spread * draw.normal(size=count) for _ in range(groups)))

    levels = {"random objective": (0.0, 1), "td3": (10.0, 1), "rule": (rule, seeds)}
    return {
        name: {env: around(centre, groups, 9 // groups) for env in ("E", "F")}
        for name, (centre, groups) in levels.items()
    }


def test_a_difference_is_of_interquartile_means() -> None:
    exact = difference(numbers(15.0, spread=0.0), "rule", "td3", ("E", "F"))
    assert exact is not None
    assert (exact.value, exact.low, exact.high) == pytest.approx((0.5, 0.5, 0.5))
    assert difference(numbers(5.0), "td3", "td3", ("E", "F")) == Interval(0.0, 0.0, 0.0)
    found = difference(numbers(15.0), "rule", "td3", ("E", "F"))
    assert found is not None
    assert found.low < 0.5 < found.high
    assert found == difference(numbers(15.0), "rule", "td3", ("E", "F"))  # the same bits


def test_rules_are_compared_agent_by_agent() -> None:
    """One rule has each of the other's agents 1 higher: their scatter is no uncertainty."""
    draw = np.random.default_rng(0).normal(size=9)
    given = {"random objective": {"E": agents(np.zeros(9))}, "td3": {"E": agents(np.full(9, 10.0))}}
    given |= {"one": {"E": agents(5 * draw)}, "two": {"E": agents(5 * draw + 1)}}
    found = difference(given, "two", "one", ("E",))
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))
    other = agents(5 * draw + 1).values[::-1]
    given["two"] = {"E": agents(other)}  # the same numbers, of other agents
    found = difference(given, "two", "one", ("E",))
    assert found is not None
    assert found.low < -0.1
    assert found.high > 0.3


def test_a_rule_with_one_agent_does_not_make_the_others_exact() -> None:
    given = {"random objective": {"E": agents(np.zeros(9))}, "td3": {"E": agents(np.full(9, 10.0))}}
    given |= {"one": {"E": agents(np.arange(9.0))}, "two": {"E": agents([3], [4], [5])}}
    found = difference(given, "one", "two", ("E",))
    assert found is not None
    assert found.value == pytest.approx(0.0)
    assert found.low < -0.1
    assert found.high > 0.1


def test_a_difference_knows_that_its_scale_is_uncertain() -> None:
    """Nothing but TD3's agents scatters: a rule at 1.5 is as uncertain as what is 1."""
    given = numbers(15.0, spread=0.0)
    given["rule"] = {env: agents(np.full(9, 15.0)) for env in ("E", "F")}
    given["td3"] = {env: agents(np.arange(6.0, 15.0)) for env in ("E", "F")}
    found = difference(given, "rule", "random objective", ("E", "F"))
    assert found is not None
    # The mean of nine of 6 ... 14 has a standard error of 0.91, that of two together 0.65.
    assert found.value == pytest.approx(1.5)
    assert 1.25 < found.low < 1.42
    assert 1.58 < found.high < 1.8


def test_without_a_scale_there_is_no_difference() -> None:
    given = numbers(15.0, spread=0.0)
    given["td3"]["F"] = agents(np.zeros(9))
    assert difference(given, "rule", "td3", ("E", "F")) is None
    found = difference(given, "rule", "td3", ("E",))
    assert found is not None
    assert found.value == pytest.approx(0.5)


def test_what_agents_noise_alone_makes_of_seeds() -> None:
    learned = {"E": agents([1], [1]), "F": agents([1, 1], [1, 1])}
    exact = {"E": agents([1.0] * 3), "F": agents([1.0] * 3)}
    assert spread_by_chance(exact, learned) == pytest.approx(1.0)
    noisy = {"E": agents([0.1, 1.0, 1.9]), "F": agents([1.0] * 3)}
    one, many = (
        spread_by_chance(noisy, {env: agents(*[[1.0] * k] * 5) for env in "EF"}) for k in (1, 100)
    )
    assert one == pytest.approx(0.1 / 1.9)
    assert many is not None
    assert 0.7 < many < 1.0  # the noise of many agents is small
    assert spread_by_chance({"E": agents([1.0] * 3)}, learned) is None  # not in every environment
    assert spread_by_chance({"E": agents([1.0] * 2), "F": agents([1.0] * 3)}, learned) is None
    assert spread_by_chance(exact, {"E": agents([1.0, 1.0])}) is None  # a single seed


def test_how_often_agents_alone_lie_as_far_apart() -> None:
    # Two agents of three seeds: 6 x 6 assignments, of which 6 keep each seed's agents together.
    apart_seeds = agents([0.0, 0.1], [5.0, 5.1], [9.0, 9.1])
    assert share_as_far_apart(apart_seeds) == pytest.approx(1 / 6, abs=0.02)
    assert share_as_far_apart(agents([1.0, 2.0], [1.0, 2.0])) == 1.0
    assert share_as_far_apart(agents([1.0, 2.0])) is None
    one_each = Crossed(np.array([1.0, 2.0]), np.array([0, 1]), np.array([3, 4]))
    assert share_as_far_apart(one_each) is None


def test_an_agent_changes_places_with_its_like() -> None:
    """Agents differ much and seeds little, but in all four numbers alike: that is no chance."""
    little = agents(*(np.array([0.0, 100, 200, 300]) + seed for seed in range(4)))
    found = share_as_far_apart(little)
    assert found is not None
    assert found < 0.02


def test_how_much_comes_with_the_agents_number() -> None:
    assert share_of_agents(agents([0, 5, 9], [1, 6, 10])) == pytest.approx(1.0)
    assert share_of_agents(agents([0, 1], [1, 0])) == 0.0
    # Numbers have the means 1 and 4, of variance 4.5; every cell is off by 0.5.
    table = agents([1.5, 3.5], [0.5, 4.5])
    residual = 4 * 0.5**2 / 1
    assert share_of_agents(table) == pytest.approx(
        (4.5 - residual / 2) / (4.5 - residual / 2 + residual)
    )
    draw = np.random.default_rng(0)
    noise = share_of_agents(agents(*draw.normal(size=(5, 40))))
    assert noise is not None
    assert noise < 0.2
    both = agents(
        *(draw.normal(size=40) + 3 * np.random.default_rng(1).normal(size=40) for _ in "abc")
    )
    found = share_of_agents(both)
    assert found is not None
    assert 0.8 < found < 0.97  # 9 of 10
    missing = Crossed(np.arange(3.0), np.array([0, 1, 1]), np.array([0, 0, 7]))
    assert share_of_agents(missing) is None
    assert share_of_agents(agents([1.0, 1.0], [1.0, 1.0])) is None
