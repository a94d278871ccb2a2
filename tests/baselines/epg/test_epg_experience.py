"""What the evolved loss sees of a step: scales, padding and visits by hand."""

import numpy as np
import pytest

from metagenrl.baselines.epg.experience import Experience, NoveltyBonus, RunningMoments, Transition


def transitions(count: int, first: int = 0) -> list[Transition]:
    """Steps whose numbers say which one they are."""
    return [
        Transition(
            np.array([i, 10.0], np.float32), np.array([0.1 * i], np.float32), float(i),
            np.array([i + 1, 10.0], np.float32), terminated=i == 3, truncated=i == 5,
        )
        for i in range(first, first + count)
    ]  # fmt: skip


def experience(capacity: int = 6) -> Experience:
    return Experience(capacity, 2, 1, np.random.default_rng(0))


def test_moments_by_hand() -> None:
    moments = RunningMoments(3)
    np.testing.assert_array_equal(moments.deviation, [1, 1, 1])
    moments.update(np.array([[1, 5, 0]], np.float32))
    moments.update(np.array([[3, 5, 0], [5, 5, 0]], np.float32))
    np.testing.assert_allclose(moments.mean, [3, 5, 0])
    np.testing.assert_allclose(moments.deviation, [np.sqrt(8 / 3), 0.1, 0.1])  # 0.1: the least
    np.testing.assert_allclose(moments.magnitude, [np.sqrt(35 / 3), 5, 1])


def test_the_window_holds_the_newest_steps_in_order() -> None:
    seen = experience(capacity=6)
    seen.add(transitions(4))
    assert seen.window().rewards.tolist() == [0, 1, 2, 3]
    seen.add(transitions(4, first=4))
    window = seen.window()
    assert window.rewards.tolist() == [2, 3, 4, 5, 6, 7]
    assert window.observations[:, 0].tolist() == [2, 3, 4, 5, 6, 7]
    assert window.next_observations[:, 0].tolist() == [3, 4, 5, 6, 7, 8]
    assert window.terminated.tolist() == [0, 1, 0, 0, 0, 0]
    assert window.ended.tolist() == [0, 1, 0, 1, 0, 0]
    assert window.last(2).rewards.tolist() == [6, 7]
    assert seen.observation_scale.count == 8  # the scales forget nothing


def test_features_by_hand() -> None:
    seen = experience()
    seen.add(transitions(5))
    rows = seen.features(seen.window(), 4, 3).numpy()
    assert rows.shape == (5, 4 + 3 + 3)
    deviation = np.sqrt(2)  # of 0 ... 4
    np.testing.assert_allclose(rows[:, 0], (np.arange(5) - 2) / deviation, rtol=1e-5)
    np.testing.assert_array_equal(rows[:, 1:4], 0)  # a constant, then the padding
    np.testing.assert_allclose(rows[:, 4], (np.arange(5) - 2) / deviation, atol=1e-6)
    np.testing.assert_array_equal(rows[:, 5:7], 0)
    np.testing.assert_allclose(rows[:, 7], np.arange(5) / np.sqrt(6), rtol=1e-6)
    assert rows[:, 9].tolist() == [0, 0, 0, 1, 0]


def test_a_constant_reward_stays_visible() -> None:
    seen = experience()
    steps = [Transition(s.observation, s.action, 0.5, s.next_observation, False, False)
             for s in transitions(3)]  # fmt: skip
    seen.add(steps)
    np.testing.assert_allclose(seen.features(seen.window(), 2, 1)[:, 3], 1.0)


def test_novelty_falls_with_the_visits_of_a_place() -> None:
    novelty = NoveltyBonus(2, np.random.default_rng(0))
    here, there = np.array([[1.0, 1.0]], np.float32), np.array([[-1.0, -1.0]], np.float32)
    bonuses = [float(novelty.visit(place)[0]) for place in (here, here, there, here)]
    assert bonuses == pytest.approx([1, 2**-0.5, 1, 3**-0.5])
    # Several visits at once count before the bonus is taken.
    assert novelty.visit(np.repeat(there, 3, 0)).tolist() == pytest.approx([0.5] * 3)
