"""What the objective sees: normalisation over valid entries, by hand."""

import math
from dataclasses import replace

import pytest
import torch

from metagenrl.learner.hyperparams import ObjectiveConfig
from metagenrl.learner.objective.features import (
    feature_count,
    feature_names,
    normalize_advantage,
    normalize_difference,
    normalize_rewards,
    normalize_together,
    normalize_values,
)
from metagenrl.learner.objective.inputs import objective_inputs, reflections
from metagenrl.learner.types import Batch

ZSCORE, JOINT = ObjectiveConfig(), ObjectiveConfig(normalization="joint")


def _rows(*rows):
    return torch.tensor(rows, dtype=torch.float64)


@pytest.fixture
def batch():
    """Two segments of T = 3, the second with one valid step, which is terminal."""
    s = torch.arange(16, dtype=torch.float64).view(2, 4, 2)
    actions = torch.linspace(-1, 1, 6, dtype=torch.float64).view(2, 3, 1)
    terminated, mask = _rows([0, 0, 0], [1, 0, 0]), _rows([1, 1, 1], [1, 0, 0])
    return Batch(s, actions, _rows([1, 3, 5], [7, 0, 0]), terminated, mask)


V, V_NEXT = _rows([0, 2, 4], [6, 50, 50]), _rows([2, 4, 6], [8, 50, 50])


def test_reward_zscore_counts_valid_entries_only():
    """Valid: 1, 3, 5, 7 with mean 4 and variance 5; the padding holds garbage."""
    mask = _rows([1, 1, 1], [1, 0, 0])
    got = normalize_rewards(_rows([1, 3, 5], [7, 1e6, -1e6]), mask)
    torch.testing.assert_close(got, _rows([-3, -1, 1], [3, 0, 0]) / 5**0.5)


def test_reward_zscore_ignores_shift_and_scale():
    rewards, mask = _rows([1, 3, 5], [7, 0, 0]), _rows([1, 1, 1], [1, 0, 0])
    got = normalize_rewards(10 * rewards - 3, mask)
    torch.testing.assert_close(got, normalize_rewards(rewards, mask))


@pytest.mark.parametrize("reward", [1.0, 0.0, -0.1])
def test_constant_reward_has_zscore_zero(reward):
    rewards = torch.full((32, 20), reward)
    assert normalize_rewards(rewards, torch.ones(32, 20)).tolist() == [[0.0] * 20] * 32


def test_joint_normalization_by_hand(batch):
    """V 0 2 4 6 and (1 - d) V' 2 4 6 0: mean 3, variance 5; mean r^2 = 84 / 4; s^2 = 5 + 21."""
    rewards, now, following = normalize_together(
        batch.rewards + 9 * (1 - batch.mask), V, V_NEXT, batch.terminated, batch.mask
    )
    torch.testing.assert_close(rewards, _rows([1, 3, 5], [7, 0, 0]) / 26**0.5)
    torch.testing.assert_close(now, _rows([-3, -1, 1], [3, 0, 0]) / 26**0.5)
    torch.testing.assert_close(following, _rows([-1, 1, 3], [-3, 0, 0]) / 26**0.5)


def test_joint_normalization_ignores_scale_and_keeps_a_constant_reward():
    mask, terminated = _rows([1, 1]), _rows([0, 1])
    first, second = (
        normalize_together(_rows([k, k]), k * _rows([4, 2]), k * _rows([2, 9]), terminated, mask)
        for k in (1, 1000)
    )
    torch.testing.assert_close(first, second)
    assert first[0].min() > 0
    nothing = torch.zeros(1, 2)
    assert all(x.abs().max() == 0 for x in normalize_together(*[nothing] * 3, terminated, mask))


def test_joint_variant_feeds_all_three_on_one_scale(batch):
    parts = normalize_together(batch.rewards, V, V_NEXT, batch.terminated, batch.mask)
    got = objective_inputs(JOINT, batch, V, V_NEXT).features
    torch.testing.assert_close(got[..., [0, 3, 2]], torch.stack(parts, -1))
    v = V.clone().requires_grad_()
    assert not objective_inputs(JOINT, batch, v, v).features.requires_grad


def test_temporal_differences_by_hand():
    """r 1 2, V 2 4, V' 4 9, the second terminated, gamma 0.5: delta 1, -2; rms sqrt(5 / 2)."""
    mask, terminated = _rows([1, 1, 0]), _rows([0, 1, 0])
    rewards, v, v_next = _rows([1, 2, 5]), _rows([2, 4, 5]), _rows([4, 9, 5])
    got = normalize_difference(rewards, v, v_next, terminated, mask, 0.5)
    torch.testing.assert_close(got, _rows([1, -2, 0]) / 2.5**0.5)


def test_a_vanishing_temporal_difference_stays_zero():
    """Rounding in large values is not blown up to unit size."""
    v = _rows([1000, 1000])
    rewards = 1000 * (1 - 0.99) * torch.ones(1, 2) * (1 + 1e-7)
    got = normalize_difference(rewards, v, v, torch.zeros(1, 2), torch.ones(1, 2), 0.99)
    assert got.abs().max() == 0


def test_td_variant_feeds_the_difference_in_the_place_of_the_next_value(batch):
    expected = objective_inputs(ZSCORE, batch, V, V_NEXT).features.clone()
    expected[..., 2] = normalize_difference(
        batch.rewards, V, V_NEXT, batch.terminated, batch.mask, 0.9
    )
    config = ObjectiveConfig(normalization="td", td_discount=0.9)
    torch.testing.assert_close(objective_inputs(config, batch, V, V_NEXT).features, expected)


def test_values_share_one_mean_and_variance(batch):
    """0 2 4 6 and 2 4 6 8: mean 4, variance (16 + 4 + 0 + 4 + 4 + 0 + 4 + 16) / 8 = 6."""
    now, following = normalize_values(V, V_NEXT, batch.terminated, batch.mask)
    torch.testing.assert_close(now, _rows([-4, -2, 0], [2, 0, 0]) / 6**0.5)
    torch.testing.assert_close(following, _rows([-2, 0, 2], [0, 0, 0]) / 6**0.5)


def test_next_value_is_dropped_where_terminated_and_kept_where_truncated():
    mask = _rows([1, 1])
    values = (_rows([0, 2]), _rows([2, 4]))  # mean 2, variance 2
    for terminated, last in ((1, 0.0), (0, 2 / 2**0.5)):
        _, following = normalize_values(*values, _rows([0, terminated]), mask)
        torch.testing.assert_close(following, _rows([0, last]))


def test_columns_are_reward_time_next_value_value(batch):
    inputs = objective_inputs(ZSCORE, batch, V, V_NEXT)
    reward = normalize_rewards(batch.rewards, batch.mask)
    now, following = normalize_values(V, V_NEXT, batch.terminated, batch.mask)
    time = _rows([0, 0.5, 1], [0, 0.5, 1])
    torch.testing.assert_close(inputs.features, torch.stack([reward, time, following, now], -1))
    assert inputs.actions is batch.actions
    assert inputs.observations is None


def test_time_of_single_steps_is_zero(batch):
    short = Batch(
        batch.observations[:, :2], *(getattr(batch, n)[:, :1] for n in
        ("actions", "rewards", "terminated", "mask")))  # fmt: skip
    assert objective_inputs(ZSCORE, short, V[:, :1], V_NEXT[:, :1]).features[..., 1].sum() == 0


@pytest.mark.parametrize(
    ("variant", "kept"),
    [
        ({"use_time": False}, [0, 2, 3]),
        ({"use_value": False}, [0, 1]),
        ({"use_next_value": False}, [0, 1, 3]),
        ({"use_value": False, "use_next_value": False, "use_time": False}, [0]),
    ],
)
def test_variants_leave_columns_out(batch, variant, kept):
    config = replace(ZSCORE, **variant)
    values = (V, V_NEXT) if config.use_value else (None, None)
    got = objective_inputs(config, batch, *values).features
    assert feature_count(config) == len(kept)
    torch.testing.assert_close(got, objective_inputs(ZSCORE, batch, V, V_NEXT).features[..., kept])


def test_observation_variant_gets_the_states_that_were_acted_in(batch):
    config = replace(ZSCORE, use_observation=True)
    inputs = objective_inputs(config, batch, V, V_NEXT)
    torch.testing.assert_close(inputs.observations, batch.observations[:, :3])


def test_inputs_are_constants(batch):
    v, v_next = V.clone().requires_grad_(), V_NEXT.clone().requires_grad_()
    assert not objective_inputs(ZSCORE, batch, v, v_next).features.requires_grad


def test_missing_values_are_named(batch):
    with pytest.raises(ValueError, match="values: got None"):
        objective_inputs(ZSCORE, batch, None, None)


@pytest.mark.parametrize("reward", [12345.678, 1e5])
def test_a_large_constant_is_a_constant_in_float32(reward):
    rewards = torch.full((100, 20), reward)
    assert normalize_rewards(rewards, torch.ones(100, 20)).abs().max() == 0


def test_every_other_segment_is_reflected():
    mask = torch.ones(3, 2)
    assert reflections(mask).shape == (3, 1, 1)
    assert reflections(mask).flatten().tolist() == [1, -1, 1]


def test_reflection_is_off_unless_asked_for(batch):
    assert objective_inputs(ZSCORE, batch, V, V_NEXT).sign is None
    inputs = objective_inputs(ObjectiveConfig(reflect_actions=True), batch, V, V_NEXT)
    assert inputs.reflect(batch.actions)[1].tolist() == (-batch.actions[1]).tolist()
    assert inputs.reflect(batch.actions)[0].tolist() == batch.actions[0].tolist()


def test_the_advantage_is_over_its_root_mean_square_and_keeps_its_sign():
    q = torch.tensor([[3.0, 1.0, 9.0]])
    v = torch.tensor([[1.0, 2.0, 0.0]])
    mask = torch.tensor([[1.0, 1.0, 0.0]])  # A = 2, -1, and padding
    got = normalize_advantage(q, v, mask)
    torch.testing.assert_close(got, torch.tensor([[2.0, -1.0, 0.0]]) / math.sqrt(2.5))
    torch.testing.assert_close(normalize_advantage(v, v, mask), torch.zeros(1, 3))


def test_the_advantage_is_a_column_of_its_own(batch):
    config = replace(ZSCORE, use_advantage=True, use_next_value=False)
    assert feature_names(config) == ["reward", "time", "V(t)", "advantage"]
    q = V + torch.randn(V.shape)
    features = objective_inputs(config, batch, V, V_NEXT, q).features
    torch.testing.assert_close(features[..., 3], normalize_advantage(q, V, batch.mask))
    with pytest.raises(ValueError, match="q: got None"):
        objective_inputs(config, batch, V, V_NEXT)
