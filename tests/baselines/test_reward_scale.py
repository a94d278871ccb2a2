"""Scaled rewards: by hand, and as a property."""

import numpy as np
import pytest

from metagenrl.baselines.reward_scale import RewardScale


def test_scale_is_that_of_the_discounted_return():
    """After many steps of r ~ N(0, 1), the discounted return has variance 1 / (1 - gamma^2)."""
    scale, rng = RewardScale(0.6), np.random.default_rng(0)
    scaled = [scale(float(r), False) for r in rng.normal(size=20_000)]
    assert np.std(scaled[5_000:]) == pytest.approx(np.sqrt(1 - 0.36), rel=0.05)


def test_signs_stay_and_outliers_are_clipped():
    scale = RewardScale(0.9)
    for _ in range(200):
        scale(0.01, True)
        scale(-0.01, True)
    assert scale(-1e-9, True) < 0
    # One outlier among n makes the variance r^2 / n: it is scaled to sqrt(n) = 20, and clipped.
    assert scale(1e6, True) == 10.0


def test_an_episodes_end_forgets_its_return():
    scale = RewardScale(0.9)
    scale(5.0, False)
    assert scale.discounted == 5.0
    scale(1.0, False)
    assert scale.discounted == pytest.approx(5.5)
    scale(1.0, True)
    assert scale.discounted == 0.0


def test_state_goes_on():
    first, second = RewardScale(0.9), RewardScale(0.9)
    for reward in (1.0, -2.0, 3.0):
        first(reward, False)
    second.load_state_dict(first.state_dict())
    assert first(0.5, False) == second(0.5, False)
    assert first.state_dict() == second.state_dict()
