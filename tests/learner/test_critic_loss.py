"""TD target and loss (Eq. 5) by hand on linear networks, and against autograd on real ones."""

import math
from dataclasses import replace

import pytest
import torch

from metagenrl.learner.critic import smoothing_noise, td_gradient, td_target
from metagenrl.learner.networks.agent_networks import AgentNetworks, apply_critic, apply_policy
from metagenrl.learner.networks.mlp import MLP
from metagenrl.learner.types import Batch

# Without hidden layers pi(s) = tanh(w s + b) and Q_j(s, a) = w_j (s, a) + b_j are known numbers.
LINEAR = AgentNetworks(MLP(1, 1, 0, 1, 1), MLP(2, 1, 0, 1, 1), 2)
PHI = {"w_out": torch.zeros(1, 1, 1), "b_out": torch.full((1, 1), math.atanh(0.5))}  # pi = 0.5
THETA = {
    "w_out": torch.tensor([[[1.0], [2.0]], [[0.0], [0.0]]]),  # Q_1 = s + 2 a
    "b_out": torch.tensor([[0.0], [4.0]]),  # Q_2 = 4
}


def _batch(states, rewards, terminated, mask):
    t = len(rewards)
    return Batch(
        torch.tensor(states).view(1, t + 1, 1),
        torch.zeros(1, t, 1),
        torch.tensor([rewards]),
        torch.tensor([terminated]),
        torch.tensor([mask]),
    )


def _target(batch, noise, phi=PHI):
    noise = torch.tensor(noise).view(1, -1, 1)
    return td_target(LINEAR, phi, THETA, batch.alone, noise[None], 0.5)[0, 0].tolist()


def test_target_takes_the_smaller_critic_at_the_next_state():
    """Q_1(s') = s' + 1 against Q_2 = 4: 2 + 1 = 3, then 4 (5 + 1 = 6 is larger)."""
    batch = _batch([9.0, 2.0, 5.0], [10.0, 20.0], [0.0, 0.0], [1.0, 1.0])
    assert _target(batch, [0.0, 0.0]) == pytest.approx([10 + 0.5 * 3, 20 + 0.5 * 4])


def test_target_bootstraps_unless_terminated():
    """A time limit ends the same segment with a mask of the same length, and bootstraps."""
    for terminated, expected in ((1.0, 20.0), (0.0, 21.0)):
        batch = _batch([0.0, 1.0, 1.0], [10.0, 20.0], [0.0, terminated], [1.0, 1.0])
        assert _target(batch, [0.0, 0.0]) == pytest.approx([11.0, expected])


def test_target_adds_the_noise_and_clips_the_action():
    """0.5 + 0.3 = 0.8; 0.5 + 0.9 is clipped to 1; 0.5 - 1.8 is clipped to -1."""
    batch = _batch([0.0] * 4, [0.0] * 3, [0.0] * 3, [1.0] * 3)
    assert _target(batch, [0.3, 0.9, -1.8]) == pytest.approx([0.8, 1.0, -1.0])


def test_target_uses_the_target_policy_at_the_next_state():
    phi = {"w_out": torch.ones(1, 1, 1), "b_out": torch.zeros(1, 1)}
    batch = _batch([9.0, -0.3], [0.0], [0.0], [1.0])
    expected = 0.5 * (-0.3 + 2 * math.tanh(-0.3))
    assert _target(batch, [0.0], phi) == pytest.approx([expected])


def test_a_single_critic_needs_no_minimum():
    nets = AgentNetworks(LINEAR.policy, LINEAR.critic, 1)
    theta = {name: view[1:] for name, view in THETA.items()}
    batch = _batch([0.0, -9.0], [1.0], [0.0], [1.0])
    got = td_target(nets, PHI, theta, batch.alone, torch.zeros(1, 1, 1, 1), 0.5)
    torch.testing.assert_close(got, torch.tensor([[[3.0]]]))


def test_smoothing_noise_is_clipped_gaussian():
    draws, generators = ([torch.Generator().manual_seed(seed) for seed in (3, 4)] for _ in range(2))
    draw = torch.stack([torch.randn(50, 40, 2, generator=generator) for generator in draws])
    noise = smoothing_noise((50, 40, 2), 0.2, 0.5, generators)
    inside = (draw * 0.2).abs() < 0.5
    torch.testing.assert_close(noise[inside], draw[inside] * 0.2)
    torch.testing.assert_close(noise[~inside], draw[~inside].sign() * 0.5)
    assert 0 < (~inside).sum() < 0.05 * noise.numel()


def test_loss_by_hand():
    """Q_1 - y = (2, -2, padding), Q_2 - y = (3, 0, padding): (4 + 4 + 9 + 0) / 2 valid steps."""
    y = torch.tensor([[[1.0, 4.0, -7.0]]])
    for mask, expected in (([1.0, 1.0, 0.0], (8.5, 2.5)), ([0.0] * 3, (0.0, 0.0))):
        batch = _batch([3.0, 2.0, 50.0, 0.0], [0.0] * 3, [0.0] * 3, mask)
        grads = {name: torch.zeros_like(view) for name, view in THETA.items()}
        (loss,), (q,) = td_gradient(LINEAR, THETA, batch.alone, y, grads)
        assert (loss.item(), q.item()) == pytest.approx(expected)


def test_gradient_by_hand():
    """Q_1(3, 0) = 3, Q_2 = 4, y = 1: the loss is 4 + 9, its gradient 2 (q - y) (s, a, 1)."""
    batch = _batch([3.0, 0.0], [0.0], [0.0], [1.0])
    grads = {name: torch.full_like(view, 7.0) for name, view in THETA.items()}
    loss, q = td_gradient(LINEAR, THETA, batch.alone, torch.tensor([[[1.0]]]), grads)
    assert (loss.item(), q.item()) == (13.0, 3.0)
    assert grads["w_out"].flatten().tolist() == [12.0, 0.0, 18.0, 0.0]
    assert grads["b_out"].flatten().tolist() == [4.0, 6.0]


@pytest.mark.usefixtures("each_backend")
def test_gradient_equals_autograd(make_problem):
    problem = make_problem()
    batch, y = problem.batches[0], torch.randn(problem.batches[0].mask.shape, dtype=torch.float64)
    theta = problem.theta.clone().requires_grad_()
    views = problem.nets.critic.layout.views(theta)
    q = apply_critic(problem.nets.critic, views, batch.observations[:, :-1], batch.actions)
    loss = ((q - y).square() * batch.mask).sum() / batch.mask.sum()  # Eq. 5
    (expected,) = torch.autograd.grad(loss, theta)
    got = torch.empty_like(problem.theta)
    with torch.no_grad():
        gradient = problem.nets.critic.layout.views(got)
        (got_loss,), (got_q,) = td_gradient(
            problem.nets, problem.theta_views, batch.alone, y[None], gradient
        )
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(got_loss, loss.detach())
    torch.testing.assert_close(got_q, (q[0] * batch.mask).sum().detach() / batch.mask.sum())


def test_target_equals_the_definition_on_real_networks(make_problem):
    problem = make_problem()
    batch, nets = problem.batches[0], problem.nets
    noise = torch.randn(batch.actions.shape, dtype=torch.float64)
    s = batch.observations[:, 1:]
    a = (apply_policy(nets.policy, problem.phi_views, s) + noise).clamp(-1, 1)
    q1, q2 = apply_critic(nets.critic, problem.theta_views, s, a)
    expected = batch.rewards + 0.9 * (1 - batch.terminated) * torch.minimum(q1, q2)
    with torch.no_grad():
        views = problem.phi_views, problem.theta_views
        (got,) = td_target(nets, *views, batch.alone, noise[None], 0.9)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_padding_changes_neither_loss_nor_gradient(make_problem):
    problem = make_problem()
    nets, batch = problem.nets, problem.batches[0]
    padding, views = 1 - batch.mask, nets.critic.layout.views
    garbage = replace(
        batch,
        actions=batch.actions + padding[..., None],
        observations=batch.observations + torch.nn.functional.pad(padding, (1, 0))[..., None],
    )
    results = []
    for given, shift in ((batch, 0.0), (garbage, 99.0)):
        grads = torch.empty_like(problem.theta)
        y = batch.rewards + shift * padding
        loss, q = td_gradient(nets, problem.theta_views, given.alone, y[None], views(grads))
        results.append(torch.cat([grads.flatten(), loss.view(1), q.view(1)]))
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)
