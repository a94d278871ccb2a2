"""PPO's loss and its advantages against numbers computed by hand."""

import math

import pytest
import torch

from metagenrl.baselines.epg.ppo_loss import advantages, ppo_loss, standardized


def test_the_loss_by_hand() -> None:
    """Three steps with clip 0.2.

    rho = 1.5, A = 1: the bound counts, 1.2; rho = 0.5, A = -2: the bound, 0.8 * -2 = -1.6;
    rho = 0.5, A = 3: rho counts, 1.5. Their mean is (1.2 - 1.6 + 1.5) / 3.
    """
    loss = ppo_loss(
        log_probability=torch.tensor([math.log(1.5), math.log(0.5), math.log(0.5)]),
        old_log_probability=torch.zeros(3),
        advantages=torch.tensor([1.0, -2.0, 3.0]),
        values=torch.tensor([1.0, 2.0, 3.0]),
        returns=torch.tensor([1.0, 4.0, 2.0]),
        divergence=torch.tensor([0.1, 0.2, 0.6]),
        clip=0.2,
        kl_weight=0.5,
    )
    expected = -(1.2 - 1.6 + 1.5) / 3 + 0.5 * 0.3 + (0 + 4 + 1) / 3
    assert float(loss) == pytest.approx(expected)


def test_beyond_the_bound_there_is_no_gradient() -> None:
    log_p = torch.tensor([math.log(1.5), math.log(1.1)], requires_grad=True)
    zero = torch.zeros(2)
    loss = ppo_loss(log_p, zero, torch.ones(2), zero, zero, zero, 0.2, 0.0)
    loss.backward()
    assert log_p.grad is not None
    # d(-rho A / 2) / d log rho = -rho / 2 within the bound
    assert log_p.grad.tolist() == pytest.approx([0.0, -0.55])


def test_advantages_by_hand_over_a_time_limit_and_a_terminal_state() -> None:
    """gamma 0.5, lambda 0.5; a truncated step, then an episode that ends in a terminal state."""
    rewards = torch.tensor([1.0, 2.0, 3.0, 4.0])
    v = torch.tensor([1.0, 1.0, 2.0, 2.0])
    v_next = torch.tensor([1.0, 6.0, 2.0, 9.0])
    terminated = torch.tensor([0.0, 0.0, 0.0, 1.0])
    ended = torch.tensor([0.0, 1.0, 0.0, 1.0])
    # delta: 1 + .5 - 1 = .5;  2 + 3 - 1 = 4 (the time limit bootstraps);  3 + 1 - 2 = 2;  4 - 2 = 2
    expected = [0.5 + 0.25 * 4, 4.0, 2 + 0.25 * 2, 2.0]
    got = advantages(rewards, v, v_next, terminated, ended, 0.5, 0.5)
    assert got.tolist() == pytest.approx(expected)
    # The window may end in the middle of an episode.
    got = advantages(rewards[:3], v[:3], v_next[:3], terminated[:3], ended[:3], 0.5, 0.5)
    assert got.tolist() == pytest.approx([1.5, 4.0, 2.0])


def test_standardized_advantages() -> None:
    assert standardized(torch.tensor([1.0, 3.0])).tolist() == [-1.0, 1.0]
    assert standardized(torch.tensor([2.0, 2.0])).tolist() == [0.0, 0.0]
