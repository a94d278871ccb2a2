from __future__ import annotations

import itertools

import numpy as np
import pytest

from metagenrl.base.messages import average
from metagenrl.objective_server.aggregate import combine, defect, euclidean


def test_mean_by_hand(make_gradient) -> None:
    items = [make_gradient(0, [1, 2, 3]), make_gradient(1, [3, 0, -3])]
    np.testing.assert_array_equal(combine(items)[0], np.array([2, 1, 0], np.float32))


def test_mean_counts_the_agents_of_a_cohort(make_gradient) -> None:
    cohort = average([make_gradient(agent, [3, 0, -3]) for agent in (1, 2, 3)])
    mean, _ = combine([make_gradient(0, [1, 2, 3]), cohort])
    # (1 * g_0 + 3 * g_1) / 4
    np.testing.assert_array_equal(mean, np.array([2.5, 0.5, -1.5], np.float32))


def test_mean_is_bit_equal_in_every_order_of_arrival(make_gradient) -> None:
    rows = [[1, 1e18, 3], [1e18, -1e18, 1e17], [-1e18, 7, -1e17], [5, 1, 1]]
    items = [make_gradient(agent, row) for agent, row in enumerate(rows)]
    orders = list(itertools.permutations(items))
    assert len({combine(order)[0].tobytes() for order in orders}) == 1
    # Which is not for free: these sums depend on their order, even in float64.
    wide = [[item.gradient.astype(np.float64) for item in order] for order in orders]
    assert len({sum(order).tobytes() for order in wide}) > 1


def test_mean_refuses_two_of_one_agent(make_gradient) -> None:
    with pytest.raises(ValueError, match="one per agent"):
        combine([make_gradient(3), make_gradient(3)])


@pytest.mark.parametrize(
    ("values", "norm", "expected"),
    [
        ([0.0, 1e-30, 0.0], 1.0, None),
        ([0.0, 0.0, -0.0], 0.0, "zero"),
        ([1.0, np.nan, 0.0], 1.0, "non_finite"),
        ([1.0, -np.inf, 0.0], 1.0, "non_finite"),
        ([1.0, 2.0, 3.0], np.inf, "non_finite"),
        ([1e20, 0.0, 0.0], 1.0, "non_finite"),  # its square is not a float32
        ([1e19, 0.0, 0.0], 1.0, None),
    ],
)
def test_defects(values, norm, expected) -> None:
    assert defect(euclidean(np.array(values, np.float32)), norm) == expected


def test_cosines_by_hand(make_gradient) -> None:
    r = np.sqrt(0.5)
    items = [
        make_gradient(0, [5, 0, 0], environment="a"),
        make_gradient(1, [0, 1, 0], environment="b"),
        make_gradient(2, [2, 2, 0], environment="a"),
        make_gradient(3, [0, -1, 0], environment="b"),
        make_gradient(4, [0, 0, 1], environment="c"),
    ]
    _, cosines = combine(items)
    # Pairs: 01: 0, 02: r, 03: 0, 12: r, 13: -1, 23: -r; agent 4 is orthogonal to all.
    assert cosines.overall == pytest.approx((r + r - r - 1) / 10)
    assert cosines.by_environment == pytest.approx({"a": r, "b": -1.0})


def test_cosines_without_pairs(make_gradient) -> None:
    nothing, cosines = combine([])
    assert (nothing, cosines.overall) == (None, None)
    _, alone = combine([make_gradient(0)])
    assert (alone.overall, alone.by_environment) == (None, {})
