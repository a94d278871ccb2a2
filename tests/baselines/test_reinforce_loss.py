"""REINFORCE's parts: the likelihood by an independent one, the estimator by finite differences."""

import math

import pytest
import torch

from metagenrl.baselines.reinforce_loss import gaussian_log_prob, reinforce_loss, standardized
from metagenrl.learner.returns import generalized_advantage

GAMMA, STD, START = 0.9, 0.3, 1.0


def _steer(gain, noise):
    """s' = s + a with a = gain s + std noise, reward -s'^2, two steps: states, actions, rewards."""
    s = torch.full(noise.shape[:1], START, dtype=noise.dtype)
    states, actions, rewards = [], [], []
    for t in range(2):
        a = gain * s + STD * noise[:, t]
        states.append(s)
        actions.append(a)
        s = s + a
        rewards.append(-s.square())
    return tuple(torch.stack(x, 1) for x in (states, actions, rewards))  # [B, T] each


def _value(gain):
    """E[r_1 + gamma r_2]: with g = 1 + gain, E s_1^2 = g^2 + std^2, E s_2^2 = g^2 E s_1^2 + std^2.

    From s_0 = 1.
    """
    first = (1 + gain) ** 2 + STD**2
    return -first - GAMMA * ((1 + gain) ** 2 * first + STD**2)


def _estimate(gain, noise, baseline):
    """Minus the gradient of REINFORCE's loss by the gain, as a sum over the steps."""
    gain = torch.tensor(gain, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        states, actions, rewards = _steer(gain, noise)
    mask = torch.ones_like(rewards)
    terminated = torch.zeros_like(rewards)
    terminated[:, -1] = 1
    v = baseline * states.square()
    v_next = torch.cat([v[:, 1:], torch.zeros_like(v[:, :1])], 1)
    advantage = generalized_advantage(rewards, v, v_next, terminated, mask, GAMMA, 1.0)
    discount = torch.tensor([1.0, GAMMA], dtype=torch.float64)
    log_std = torch.tensor([math.log(STD)], dtype=torch.float64)
    log_prob = gaussian_log_prob((gain * states).unsqueeze(-1), log_std, actions.unsqueeze(-1))
    loss = reinforce_loss(log_prob, advantage * discount, mask)
    loss.backward()
    return -gain.grad.item() * 2  # the loss is a mean over the two steps


@pytest.mark.parametrize("baseline", [0.0, -2.0])
@pytest.mark.parametrize("gain", [-0.5, 0.1])
def test_the_estimator_is_the_gradient_of_the_expected_return(gain, baseline):
    """Against central differences of the simulated value, and of the known one."""
    noise = torch.randn(400_000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    h = 1e-4

    def simulated(gain):
        return (_steer(gain, noise)[2] * torch.tensor([1.0, GAMMA])).sum(1).mean().item()

    known = (_value(gain + h) - _value(gain - h)) / (2 * h)
    differences = (simulated(gain + h) - simulated(gain - h)) / (2 * h)
    assert differences == pytest.approx(known, rel=0.01)
    assert _estimate(gain, noise, baseline) == pytest.approx(known, rel=0.02)


def test_a_baseline_lowers_the_variance():
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(200, 50, 2, dtype=torch.float64, generator=generator)
    spread = [torch.tensor([_estimate(-0.5, n, b) for n in noise]).std() for b in (0.0, -0.3)]
    assert spread[1] < 0.8 * spread[0]


def test_log_prob_equals_torchs_normal():
    generator = torch.Generator().manual_seed(0)
    mean, actions = (torch.randn(4, 5, 3, generator=generator) for _ in range(2))
    log_std = torch.tensor([-1.0, 0.0, 0.5])
    expected = torch.distributions.Normal(mean, log_std.exp()).log_prob(actions).sum(-1)
    torch.testing.assert_close(gaussian_log_prob(mean, log_std, actions), expected)


def test_loss_by_hand():
    """-(1 * 2 + 3 * -1) / 2 over the two valid steps; the padding's 7 * 9 is not seen."""
    log_prob, advantage = torch.tensor([[1.0, 3.0, 7.0]]), torch.tensor([[2.0, -1.0, 9.0]])
    loss = reinforce_loss(log_prob, advantage, torch.tensor([[1.0, 1.0, 0.0]]))
    assert loss.item() == pytest.approx(0.5)


def test_standardized_by_hand():
    """1, 3, 5: mean 3, variance 8 / 3; padding stays 0."""
    got = standardized(torch.tensor([[1.0, 3.0, 99.0], [5.0, 99.0, 99.0]]),
                       torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]))  # fmt: skip
    x = 2 / math.sqrt(8 / 3)
    torch.testing.assert_close(got, torch.tensor([[-x, 0.0, 0.0], [x, 0.0, 0.0]]))
    assert standardized(torch.ones(1, 2), torch.ones(1, 2)).tolist() == [[0.0, 0.0]]
