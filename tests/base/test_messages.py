"""A cohort's message, by hand."""

import numpy as np
import pytest

from metagenrl.base.messages import AlphaGradient, average


def _gradient(agent: int, values: list[float], incarnation: int = 0) -> AlphaGradient:
    vector = np.array(values, np.float32)
    norm = float(np.linalg.norm(vector)) * 3
    return AlphaGradient("r", agent, incarnation, 7, 5, vector, norm, "E")


def test_average_of_gradients_of_one_length() -> None:
    message = average([_gradient(4, [0, 2]), _gradient(1, [2, 0])])
    np.testing.assert_array_equal(message.gradient, np.array([1, 1], np.float32))
    assert (message.run, message.round, message.version, message.environment) == ("r", 7, 5, "E")
    assert [(s.agent, s.norm, s.defect) for s in message.shares] == [(1, 6.0, None), (4, 6.0, None)]
    assert (message.agent, message.weight, message.length) == (1, 2, 2.0)
    assert message.directions is None
    np.testing.assert_allclose(message.unit_sum(), [1, 1], rtol=1e-12)


def test_directions_are_sent_where_lengths_differ() -> None:
    message = average([_gradient(0, [3, 4]), _gradient(1, [0, 1])])
    assert message.directions is not None
    np.testing.assert_allclose(message.unit_sum(), [0.6, 1.8], rtol=1e-7)
    np.testing.assert_array_equal(message.gradient, np.array([1.5, 2.5], np.float32))


def test_unsound_and_quarantined_gradients_stay_out_of_the_mean() -> None:
    gradients = [
        _gradient(0, [float("nan"), 1]), _gradient(1, [0, 0]), _gradient(2, [8, 8], incarnation=1),
        _gradient(3, [1, 2], incarnation=2), _gradient(4, [3, 4]),
    ]  # fmt: skip
    message = average(gradients, quarantined={2: 1, 3: 1})
    np.testing.assert_array_equal(message.gradient, np.array([2, 3], np.float32))
    defects = [share.defect for share in message.shares]
    assert defects == ["non_finite", "zero", "quarantined", None, None]
    assert (message.agent, message.weight) == (3, 2)


def test_no_sound_gradient_leaves_a_message_of_weight_0() -> None:
    message = average([_gradient(5, [float("inf"), 1])])
    assert (message.agent, message.weight) == (5, 0)
    assert not message.gradient.any()
    with pytest.raises(ValueError, match="gradients: got 0"):
        average([])
