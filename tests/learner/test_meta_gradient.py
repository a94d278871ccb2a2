"""Eq. 6 and 8: the fast form against double backward, and what J and the inner step are."""

from dataclasses import replace

import pytest
import torch
from fixtures.problems import VARIANTS
from torch.nn import functional

from metagenrl.learner.hyperparams import MetaConfig
from metagenrl.learner.meta_gradient import (
    inner_rate,
    mean_value,
    meta_gradient,
    meta_gradient_by_autograd,
)
from metagenrl.learner.networks.agent_networks import apply_critic, apply_policy
from metagenrl.learner.objective.inputs import inputs_on
from metagenrl.learner.objective.net import apply as apply_objective
from metagenrl.learner.policy_value import PlainEvaluation, PolicyEvaluation

MORE_VARIANTS = [
    *VARIANTS,
    {"normalization": "td"},
    {"reflect_actions": True},
    {"use_time": False, "use_observation": True, "bidirectional": True},
    {"use_value": False, "use_observation": True},
]


@torch.no_grad()
def _fast(problem, meta):
    """As an agent computes it: evaluation, objective, policy gradient, meta-gradient."""
    first, *others = problem.batches
    evaluation, objective = problem.evaluation(first), problem.learned()
    value = objective(evaluation)
    summed = torch.empty_like(problem.phi)
    views = problem.nets.policy.layout.views(summed)
    evaluation.policy_gradient(value.action_gradient, views)
    return meta_gradient(
        meta, objective, value, evaluation, problem.phi, summed, others
    )  # fmt: skip


def _double(problem, meta):
    return meta_gradient_by_autograd(
        meta, problem.net, problem.nets, problem.alpha, problem.phi, problem.theta_views,
        problem.batches,
    )  # fmt: skip


def _error(got, want):
    return ((got - want).norm() / want.norm()).item()


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("action_size", [1, 2, 6, 8])
@pytest.mark.parametrize("variant", MORE_VARIANTS, ids=str)
def test_fast_form_equals_double_backward(make_problem, variant, action_size):
    problem = make_problem(action_size, **variant)
    (got, j), (want, want_j) = (f(problem, MetaConfig()) for f in (_fast, _double))
    assert want.norm() > 1e-6
    assert _error(got, want) < 1e-10
    assert _error(j, want_j) < 1e-12


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize(
    "fields", [{"inner_reduction": "mean"}, {"inner_step_size": 0.05}], ids=str
)
def test_fast_form_follows_the_inner_step(make_problem, fields):
    problem, meta = make_problem(2), MetaConfig(**fields)
    (got, j), (want, want_j) = (f(problem, meta) for f in (_fast, _double))
    assert _error(got, want) < 1e-10
    assert _error(j, want_j) < 1e-12
    assert _error(_fast(problem, MetaConfig())[0], want) > 0.1


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("inner_steps", [2, 3])
@pytest.mark.parametrize("variant", MORE_VARIANTS, ids=str)
def test_several_inner_steps_equal_double_backward(make_problem, variant, inner_steps):
    problem = make_problem(2, minibatches=inner_steps + 1, **variant)
    meta = MetaConfig(inner_steps=inner_steps)
    (got, j), (want, want_j) = (f(problem, meta) for f in (_fast, _double))
    assert want.norm() > 1e-6
    assert _error(got, want) < 1e-9
    assert _error(j, want_j) < 1e-11


@pytest.mark.usefixtures("each_backend")
def test_steps_that_come_first_are_seen_by_those_after(make_problem):
    """Without the Hessians of the later steps the gradient would be another one."""
    problem, meta = make_problem(2, minibatches=3), MetaConfig(inner_steps=2)
    want = _double(problem, meta)[0]
    curved = PolicyEvaluation.policy_curvature
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PolicyEvaluation, curved.__name__, lambda *_: 0.0)
        assert _error(_fast(problem, meta)[0], want) > 1e-3


def test_inner_rate_of_sum_and_mean(make_problem):
    """19 of the 30 steps are valid."""
    batch = make_problem().batches[0]
    assert inner_rate(MetaConfig(inner_step_size=0.5), batch) == 0.5
    mean = MetaConfig(inner_step_size=0.5, inner_reduction="mean")
    assert inner_rate(mean, batch) == pytest.approx(0.5 / 19)
    assert inner_rate(mean, replace(batch, mask=torch.zeros_like(batch.mask))) == 0.5


def test_mean_value_is_the_mean_over_valid_steps_of_all_minibatches(make_problem):
    problem = make_problem(minibatches=3)
    total, count = 0.0, 0
    for batch in problem.batches:
        for b, steps in enumerate(batch.mask.sum(1).long().tolist()):
            s = batch.observations[b, :steps]
            pi = apply_policy(problem.nets.policy, problem.phi_views, s)
            total += apply_critic(problem.nets.critic, problem.theta_views, s, pi)[0].sum().item()
            count += steps
    got = mean_value(problem.nets, problem.phi, problem.theta_views, problem.batches)
    assert got.item() == pytest.approx(total / count, rel=1e-12)


@pytest.mark.usefixtures("each_backend")
def test_value_gradient_equals_autograd(make_problem):
    problem = make_problem(3)
    phi = problem.phi.clone().requires_grad_()
    j = mean_value(problem.nets, phi, problem.theta_views, problem.batches)
    (want,) = torch.autograd.grad(-j, phi)
    with torch.no_grad():
        got_j, got = problem.evaluation().value_gradient(problem.phi, problem.batches[1:])
    torch.testing.assert_close(got_j, j.detach(), rtol=1e-12, atol=0)
    assert _error(got, want) < 1e-11


@pytest.mark.usefixtures("each_backend")
def test_padding_changes_nothing(make_problem):
    """Segments of T = 6 against the same ones padded to T = 13; without t, which T scales."""
    problem = make_problem(2, use_time=False)

    def longer(batch):
        padded = {
            name: functional.pad(
                getattr(batch, name), (0, 0) * (getattr(batch, name).dim() - 2) + (0, 7)
            )
            for name in ("observations", "actions", "rewards", "terminated", "mask")
        }
        return replace(batch, **padded)

    padded = replace(problem, batches=tuple(longer(batch) for batch in problem.batches))
    assert padded.batches[0].actions.shape == (5, 13, 2)
    for method in (_fast, _double):
        (got, j), (want, want_j) = method(padded, MetaConfig()), method(problem, MetaConfig())
        assert _error(got, want) < 1e-10
        assert _error(j, want_j) < 1e-12


@torch.no_grad()
def test_only_the_value_of_the_first_critic_is_used(make_problem):
    problem = make_problem()
    before = _fast(problem, MetaConfig())[0]
    problem.theta[1] += 1.0
    assert torch.equal(_fast(problem, MetaConfig())[0], before)
    problem.theta[0] *= 1.5
    assert _error(_fast(problem, MetaConfig())[0], before) > 0.01


@torch.no_grad()
def test_nothing_but_alpha_gets_a_gradient(make_problem):
    """phi, theta and alpha themselves are left bit for bit as they were."""
    problem = make_problem()
    kept = [x.clone() for x in (problem.phi, problem.theta, problem.alpha)]
    for method in (_fast, _double):
        gradient, _ = method(problem, MetaConfig())
        assert gradient.shape == problem.alpha.shape
        assert not gradient.requires_grad
    for x, before in zip((problem.phi, problem.theta, problem.alpha), kept, strict=True):
        assert torch.equal(x, before)
        assert x.grad is None


@pytest.mark.parametrize("variant", [{}, {"use_observation": True, "bidirectional": True}], ids=str)
def test_every_part_of_alpha_is_trained(make_problem, variant):
    """All but the head's last bias: it shifts l, and at eta = 1000 hardly bends it."""
    problem = make_problem(3, **variant)
    views = problem.net.layout.views(_fast(problem, MetaConfig())[0])
    flat = [name for name, view in views.items() if view.abs().max() < 1e-12]
    assert flat in ([], ["head/b_out"])


def test_a_step_along_the_gradient_raises_the_value(make_problem):
    """g = -dJ/d alpha: descending it is ascending J."""
    problem = make_problem(hidden_units=16)
    gradient, j = _fast(problem, MetaConfig())
    step = 1e-5 / gradient.norm()
    _, above = _fast(replace(problem, alpha=problem.alpha - step * gradient), MetaConfig())
    expected = 1e-5 * gradient.norm().item()
    assert (above - j).item() == pytest.approx(expected, rel=0.05)


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("variant", [{}, {"use_advantage": True, "use_next_value": False}], ids=str)
def test_action_regression_is_the_gradient_of_the_mean_squared_residual(make_problem, variant):
    """1/2 E |dL/d pi + dQ/da / rms(dQ/da)|^2 over valid steps, by double backward."""
    problem = make_problem(2, **variant)
    meta = MetaConfig(outer_loss="action_regression")
    g, j = _fast(problem, meta)
    batch, alpha = problem.batches[0], problem.alpha.clone().requires_grad_()
    plain = PlainEvaluation(problem.nets, problem.phi_views, problem.theta_views, batch)
    mask, valid = batch.mask.unsqueeze(-1), batch.mask.sum()
    pi = apply_policy(problem.nets.policy, problem.phi_views, batch.observations[:, :-1])
    pi = pi.detach().requires_grad_()
    loss = apply_objective(problem.net, alpha, pi, inputs_on(problem.net.config, plain)).sum()
    (action_gradient,) = torch.autograd.grad(loss, pi, create_graph=True)
    direction = plain.action_value_gradient * mask
    rms = (direction.square().sum() / (valid * pi.shape[-1])).sqrt()
    residual = (action_gradient + direction / rms) * mask
    (expected,) = torch.autograd.grad(residual.square().sum() / (2 * valid), alpha)
    assert _error(g, expected) < 1e-10
    torch.testing.assert_close(j, (plain.v * batch.mask).sum() / valid)


def test_action_regression_asks_for_one_inner_step():
    with pytest.raises(ValueError, match="inner_steps: got 3, allowed: 1 where outer_loss is"):
        MetaConfig(inner_steps=3, outer_loss="action_regression")
