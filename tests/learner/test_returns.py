"""GAE against numbers computed by hand."""

import torch

from metagenrl.learner.returns import generalized_advantage

GAMMA, LAMBDA = 0.5, 0.5


def _rows(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def _gae(v_next, terminated, mask, gae_lambda=LAMBDA):
    rewards, v = _rows([1, 2, 3]), _rows([1, 2, 4])
    return generalized_advantage(rewards, v, v_next, terminated, mask, GAMMA, gae_lambda)


def test_gae_of_a_terminated_episode_does_not_bootstrap():
    """delta = (1 + 1 - 1, 2 + 2 - 2, 3 - 4) = (1, 2, -1)."""
    got = _gae(_rows([2, 4, 8]), _rows([0, 0, 1]), _rows([1, 1, 1]))
    torch.testing.assert_close(got, _rows([1.4375, 1.75, -1]))


def test_gae_of_a_truncated_episode_bootstraps():
    """delta = (1, 2, 3 + 4 - 4) = (1, 2, 3): the value of the last state counts."""
    got = _gae(_rows([2, 4, 8]), _rows([0, 0, 0]), _rows([1, 1, 1]))
    torch.testing.assert_close(got, _rows([1.6875, 2.75, 3]))


def test_gae_of_a_segment_cut_short_by_a_time_limit():
    """Two valid steps, delta = (1, 2); whatever stands in the padding is not read."""
    got = _gae(_rows([2, 4, 1e9]), _rows([0, 0, 1]), _rows([1, 1, 0]))
    torch.testing.assert_close(got, _rows([1.5, 2, 0]))


def test_gae_with_lambda_0_is_the_td_error():
    got = _gae(_rows([2, 4, 8]), _rows([0, 0, 0]), _rows([1, 1, 1]), gae_lambda=0.0)
    torch.testing.assert_close(got, _rows([1, 2, 3]))


def test_gae_with_lambda_1_is_the_bootstrapped_return_minus_the_value():
    """G = (2.75, 3.5, 3) + 8 (gamma^3, gamma^2, gamma) - V."""
    got = _gae(_rows([2, 4, 8]), _rows([0, 0, 0]), _rows([1, 1, 1]), gae_lambda=1.0)
    torch.testing.assert_close(got, _rows([2.75, 3.5, 3]) + _rows([1, 2, 4]) - _rows([1, 2, 4]))
