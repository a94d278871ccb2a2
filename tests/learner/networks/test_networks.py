"""Sizes, initial parameters and functions of policy and critics (section 4)."""

import torch

from metagenrl.learner.hyperparams import AgentConfig
from metagenrl.learner.networks.agent_networks import (
    AgentNetworks,
    apply_critic,
    apply_policy,
    initial_parameters,
)


def test_paper_sizes_on_half_cheetah():
    """17-350-350-6 and 23-350-350-1, with layer norm's gamma and beta twice each."""
    nets = AgentNetworks.of(AgentConfig(), 17, 6)
    norms = 2 * 2 * 350
    assert nets.policy.layout.size == 18 * 350 + 351 * 350 + 351 * 6 + norms
    assert nets.critic.layout.size == 24 * 350 + 351 * 350 + 351 + norms


def test_twin_critics_can_be_switched_off():
    assert AgentNetworks.of(AgentConfig(), 3, 1).critics == 2
    assert AgentNetworks.of(AgentConfig(twin_critics=False), 3, 1).critics == 1


def test_initial_parameters():
    net = AgentNetworks.of(AgentConfig(hidden_units=200), 40, 6).critic
    flat = initial_parameters(net, 2, torch.Generator().manual_seed(0))
    views = net.layout.views(flat)
    for name in ("b0", "b1", "beta0", "b_out"):
        assert views[name].abs().max() == 0
    assert views["gamma1"].unique().tolist() == [1.0]
    bound = (6 / (46 + 200)) ** 0.5
    assert bound * 0.99 < views["w0"].abs().max() <= bound
    assert abs(views["w0"].mean()) < bound / 50
    assert (views["w0"][0] - views["w0"][1]).abs().mean() > bound / 4  # twins differ


def test_initial_parameters_follow_the_generator():
    net = AgentNetworks.of(AgentConfig(hidden_units=8), 3, 1).policy
    first, again, other = (
        initial_parameters(net, 1, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_policy_and_critic_take_any_leading_shape(make_problem):
    problem = make_problem(2)
    s = problem.batches[0].observations
    pi = apply_policy(problem.nets.policy, problem.phi_views, s)
    q = apply_critic(problem.nets.critic, problem.theta_views, s, pi)
    assert pi.shape == (5, 7, 2)
    assert pi.abs().max() < 1
    assert q.shape == (2, 5, 7)
    single = apply_policy(problem.nets.policy, problem.phi_views, s[3, 2])
    torch.testing.assert_close(single, pi[3, 2])
    one = apply_critic(problem.nets.critic, problem.theta_views, s[3, 2], pi[3, 2])
    torch.testing.assert_close(one, q[:, 3, 2])
    assert (q[0] - q[1]).abs().min() > 0
