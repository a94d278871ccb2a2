"""One evaluation of policy and critic: values, and the policy's derivatives (sections 3 and 5)."""

from dataclasses import replace

import pytest
import torch

from metagenrl.learner.networks.agent_networks import apply_critic, apply_policy
from metagenrl.learner.objective.inputs import objective_inputs
from metagenrl.learner.objective.net import apply as apply_objective

pytestmark = pytest.mark.usefixtures("each_backend")


def _v(problem, phi, theta, s):
    """Q_theta1(s, pi_phi(s)) as a function of flat parameters."""
    nets = problem.nets
    a = apply_policy(nets.policy, nets.policy.layout.views(phi), s)
    return apply_critic(nets.critic, nets.critic.layout.views(theta), s, a)[0]


@torch.no_grad()
def test_values_equal_the_definition(make_problem):
    problem = make_problem()
    batch, evaluation = problem.batches[0], problem.evaluation()
    pi = apply_policy(problem.nets.policy, problem.phi_views, batch.observations[:, :-1])
    torch.testing.assert_close(evaluation.pi, pi, rtol=1e-12, atol=1e-12)
    v = _v(problem, problem.phi, problem.theta, batch.observations)
    torch.testing.assert_close(evaluation.v, v[:, :-1], rtol=1e-12, atol=1e-12)
    following = evaluation.v_next * batch.mask
    torch.testing.assert_close(following, v[:, 1:] * batch.mask, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_values_are_those_of_the_first_critic(make_problem):
    problem = make_problem()
    before = problem.evaluation().v.clone()
    problem.theta[1] += 1.0
    assert torch.equal(problem.evaluation().v, before)
    problem.theta[0] += 1.0
    assert (problem.evaluation().v - before).abs().min() > 0


@torch.no_grad()
def test_an_empty_segment_has_finite_values(make_problem):
    problem = make_problem()
    batch = problem.batches[0]
    mask = batch.mask.clone()
    mask[1] = 0
    evaluation = problem.evaluation(replace(batch, mask=mask))
    assert evaluation.v_next.isfinite().all()


def test_action_value_gradient_equals_autograd(make_problem):
    problem = make_problem(3)
    batch, evaluation = problem.batches[0], problem.evaluation()
    a = evaluation.pi.clone().requires_grad_()
    q = apply_critic(problem.nets.critic, problem.theta_views, batch.observations[:, :-1], a)[0]
    (want,) = torch.autograd.grad(q.sum(), a)
    with torch.no_grad():
        got = evaluation.action_value_gradient
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


def test_policy_gradient_and_tangent_equal_autograd(make_problem):
    problem = make_problem(3)
    batch, evaluation = problem.batches[0], problem.evaluation()
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(evaluation.pi.shape, generator=generator, dtype=torch.float64)
    direction = torch.randn(problem.phi.shape, generator=generator, dtype=torch.float64)
    views = problem.nets.policy.layout.views

    def pi(phi):
        s = batch.observations[:, :-1]
        return apply_policy(problem.nets.policy, views(phi), s) * batch.mask[..., None]

    value, pullback = torch.func.vjp(pi, problem.phi)
    _, tangent = torch.func.jvp(pi, (problem.phi,), (direction,))
    got = torch.full_like(problem.phi, 7.0)
    with torch.no_grad():
        evaluation.policy_gradient(weight, views(got))
        got_tangent = evaluation.policy_tangent(views(direction))
    torch.testing.assert_close(got, pullback(weight)[0], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(got_tangent, tangent, rtol=1e-10, atol=1e-12)
    assert value.shape == evaluation.pi.shape


@pytest.mark.parametrize("variant", [{}, {"use_observation": True, "bidirectional": True}], ids=str)
def test_policy_gradient_of_the_objective_goes_through_the_action_alone(make_problem, variant):
    """V depends on phi and theta in the graph, and yet: no gradient reaches theta, and phi's is
    that with V held constant, which is what the hand-written pass gives."""
    problem = make_problem(2, **variant)
    batch, views = problem.batches[0], problem.nets.policy.layout.views
    phi, theta = problem.phi.clone().requires_grad_(), problem.theta.clone().requires_grad_()
    v = _v(problem, phi, theta, batch.observations)
    inputs = objective_inputs(problem.net.config, batch, v[:, :-1], v[:, 1:])
    pi = apply_policy(problem.nets.policy, views(phi), batch.observations[:, :-1])
    loss = apply_objective(problem.net, problem.alpha, pi, inputs).sum()
    got_phi, got_theta = torch.autograd.grad(loss, (phi, theta), allow_unused=True)
    assert got_theta is None
    fast = torch.empty_like(problem.phi)
    with torch.no_grad():
        evaluation = problem.evaluation()
        value = problem.learned()(evaluation)
        evaluation.policy_gradient(value.action_gradient, views(fast))
    torch.testing.assert_close(fast, got_phi, rtol=1e-9, atol=1e-11)
    assert got_phi.norm() > 1e-3


def test_action_penalty_equals_autograd(make_problem):
    """d/dphi of the sum over valid steps of pi . g + penalty rms(g) mean_A max(|x|-1.5, 0)^2."""
    problem = make_problem(3)
    problem.phi_views["w_out"].mul_(2)  # far enough out, not so far that atanh overflows
    batch, evaluation, penalty = problem.batches[0], problem.evaluation(), 0.7
    beyond = (torch.atanh(evaluation.pi).abs() > 1.5).double().mean()
    assert 0.1 < beyond < 0.9
    layout = problem.nets.policy.layout
    g = torch.randn_like(evaluation.pi)
    phi = problem.phi.clone().requires_grad_()
    pi = apply_policy(problem.nets.policy, layout.views(phi), batch.observations[:, :-1])
    rms = g[batch.mask.bool()].square().mean().sqrt()
    loss = (pi * g).sum(-1) + penalty * rms * (torch.atanh(pi).abs() - 1.5).relu().square().mean(-1)
    (want,) = torch.autograd.grad((loss * batch.mask).sum(), phi)
    got = torch.empty_like(problem.phi)
    with torch.no_grad():
        evaluation.policy_gradient(g, layout.views(got), penalty)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
