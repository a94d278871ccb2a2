"""Learned, critic and REINFORCE objectives behind one interface; annealing (B.2)."""

from dataclasses import replace

import pytest
import torch

from metagenrl.learner.networks.agent_networks import apply_critic, apply_policy
from metagenrl.learner.objective.features import normalize_advantage
from metagenrl.learner.objective.inputs import objective_inputs
from metagenrl.learner.objective.net import apply as apply_objective
from metagenrl.learner.policy_update import (
    CriticObjective,
    Reinforce,
    ReinforceByCritic,
    anneal,
    annealing,
    reinforce,
)
from metagenrl.learner.returns import generalized_advantage

REINFORCE = Reinforce(gamma=0.9, gae_lambda=0.8)


def _first(theta):
    return {name: view[:1] for name, view in theta.items()}


def _states(problem, batch):
    """V_t and V_{t+1} by applying the networks to every state."""
    s, nets = batch.observations, problem.nets
    a = apply_policy(nets.policy, problem.phi_views, s)
    v = apply_critic(nets.critic, _first(problem.theta_views), s, a)[0]
    return v[:, :-1], v[:, 1:]


def _learned_loss(problem, batch, pi):
    inputs = objective_inputs(problem.net.config, batch, *_states(problem, batch))
    return apply_objective(problem.net, problem.alpha, pi, inputs)


def _critic_loss(problem, batch, pi):
    s, critic = batch.observations[:, :-1], problem.nets.critic
    return -apply_critic(critic, _first(problem.theta_views), s, pi)[0] * batch.mask


def _reinforce_loss(problem, batch, pi):
    v, v_next = _states(problem, batch)
    advantage = generalized_advantage(
        batch.rewards, v, v_next, batch.terminated, batch.mask, 0.9, 0.8
    )
    return (batch.actions - pi).square().mean(-1) * advantage


def _by_critic_loss(problem, batch, pi):
    s, critic = batch.observations[:, :-1], problem.nets.critic
    q = apply_critic(critic, _first(problem.theta_views), s, batch.actions)[0]
    advantage = normalize_advantage(q, _states(problem, batch)[0], batch.mask)
    return (batch.actions - pi).square().mean(-1) * advantage


OBJECTIVES = {
    "learned": (lambda problem: problem.learned(), _learned_loss),
    "critic": (lambda problem: CriticObjective(), _critic_loss),
    "reinforce": (lambda problem: REINFORCE, _reinforce_loss),
    "reinforce by critic": (lambda problem: ReinforceByCritic(), _by_critic_loss),
}


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("action_size", [1, 3])
def test_loss_and_action_gradient_equal_autograd(make_problem, name, action_size):
    problem = make_problem(action_size)
    make, definition = OBJECTIVES[name]
    batch, evaluation = problem.batches[0], problem.evaluation()
    with torch.no_grad():
        value = make(problem)(evaluation)
    pi = evaluation.pi.clone().requires_grad_()
    loss = definition(problem, batch, pi)
    (gradient,) = torch.autograd.grad(loss.sum(), pi)
    torch.testing.assert_close(value.loss, loss.detach(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(value.action_gradient, gradient, rtol=1e-9, atol=1e-12)
    assert value.loss[batch.mask == 0].abs().max() == 0
    assert value.action_gradient[batch.mask == 0].abs().max() == 0


@pytest.mark.parametrize("name", OBJECTIVES)
@torch.no_grad()
def test_terminated_matters_and_the_padding_does_not(make_problem, name):
    problem = make_problem(2)
    objective, batch = OBJECTIVES[name][0](problem), problem.batches[0]
    loss = objective(problem.evaluation(batch)).loss
    padding = 1 - batch.mask
    garbage = replace(
        batch, rewards=batch.rewards + 9 * padding, terminated=batch.terminated + padding
    )
    torch.testing.assert_close(objective(problem.evaluation(garbage)).loss, loss)
    truncated = replace(batch, terminated=torch.zeros_like(batch.terminated))
    changed = (objective(problem.evaluation(truncated)).loss - loss).abs().max()
    by_value = name in ("critic", "reinforce by critic")  # Q looks at no transition
    assert (changed > 1e-3) == (not by_value)


def test_reinforce_by_hand():
    """((0.5 - 0)^2 + (0 - 1)^2) / 2 * 4 = 2.5; gradient (pi - a) * 4 = (-2, 4)."""
    pi, actions = torch.tensor([[[0.0, 1.0]]]), torch.tensor([[[0.5, 0.0]]])
    value = reinforce(pi, actions, torch.tensor([[4.0]]))
    assert value.loss.item() == 2.5
    assert value.action_gradient.tolist() == [[[-2.0, 4.0]]]


def test_reinforce_moves_towards_good_actions_and_away_from_bad_ones():
    pi, actions = torch.zeros(1, 2, 1), torch.full((1, 2, 1), 0.5)
    value = reinforce(pi, actions, torch.tensor([[3.0, -3.0]]))
    step = (-value.action_gradient).flatten()
    assert step[0] > 0 > step[1]


@pytest.mark.parametrize(
    ("step", "anneal_steps", "p"),
    [(0, 100, 0.0), (25, 100, 0.25), (100, 100, 1.0), (999, 100, 1.0), (0, 0, 1.0)],
)
def test_annealing_rises_linearly_from_0_to_1(step, anneal_steps, p):
    assert annealing(step, anneal_steps) == p


@torch.no_grad()
def test_anneal_mixes_losses_and_gradients(make_problem):
    """p l - (1 - p) Q, and the same of the derivatives."""
    problem = make_problem()
    evaluation = problem.evaluation()
    learned, critic = problem.learned()(evaluation), CriticObjective()(evaluation)
    mixed = anneal(0.25, learned, evaluation)
    torch.testing.assert_close(mixed.loss, 0.25 * learned.loss + 0.75 * critic.loss)
    expected = 0.25 * learned.action_gradient + 0.75 * critic.action_gradient
    torch.testing.assert_close(mixed.action_gradient, expected)
    start = anneal(0.0, learned, evaluation)
    torch.testing.assert_close(start.action_gradient, critic.action_gradient)


@torch.no_grad()
def test_anneal_leaves_the_critic_out_at_the_end(make_problem):
    problem = make_problem()
    evaluation = problem.evaluation()
    learned = problem.learned()(evaluation)
    assert anneal(1.0, learned, evaluation) is learned
    assert "action_value_gradient" not in vars(evaluation)
