"""The hand-written derivatives of L_alpha against autograd on its definition."""

from dataclasses import replace

import pytest
import torch

from metagenrl.learner import ops
from metagenrl.learner.hyperparams import ObjectiveConfig
from metagenrl.learner.objective.inputs import ObjectiveInputs
from metagenrl.learner.objective.net import ObjectiveNet, apply, initial_alpha

VARIANTS = [
    {},
    {"use_time": False},
    {"use_value": False},
    {"use_next_value": False},
    {"use_observation": True},
    {"bidirectional": True},
    {"eta": 0.7},
    {"use_value": False, "use_observation": True, "bidirectional": True, "eta": 0.7},
    {"reflect_actions": True, "normalization": "td"},
    {"use_critic_direction": True, "reflect_actions": True},
    {"use_advantage": True, "use_next_value": False},
]


@pytest.fixture
def make_inputs(make_problem):
    """L_alpha, a policy's actions and the inputs of one ragged minibatch."""

    def make(action_size=2, **variant):
        problem = make_problem(action_size, **variant)
        evaluation = problem.evaluation()
        with torch.no_grad():
            learned = ops.learned_objective(problem.net, problem.alpha)
            return learned, evaluation.pi, learned.inputs(evaluation)

    return make


def _by_autograd(learned, pi, inputs, u):
    """l, dL/d pi and d/d alpha <dL/d pi, u>, by double backward."""
    alpha, pi = learned.alpha.clone().requires_grad_(), pi.clone().requires_grad_()
    loss = apply(learned.net, alpha, pi, inputs)
    (action,) = torch.autograd.grad(loss.sum(), pi, create_graph=True)
    (mixed,) = torch.autograd.grad((action * u).sum(), alpha)
    return loss.detach(), action.detach(), mixed


@torch.no_grad()
def _by_hand(learned, pi, inputs, u):
    tape = learned.forward(pi, inputs)
    return tape.loss, learned.action_gradient(tape), learned.alpha_gradient(tape, u)


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("action_size", [1, 3])
def test_equals_autograd(make_inputs, variant, action_size):
    learned, pi, inputs = make_inputs(action_size, **variant)
    u = torch.randn(pi.shape, dtype=pi.dtype, generator=torch.Generator().manual_seed(5))
    want = _by_autograd(learned, pi, inputs, u)
    for a, b in zip(_by_hand(learned, pi, inputs, u), want, strict=True):
        assert b.norm() > 1e-3
        assert ((a - b).norm() / b.norm()).item() < 1e-11


def test_equals_autograd_at_the_papers_size_in_float32(make_problem):
    """15 497 parameters, T = 20, through the vectorised kernels."""
    net, generator = ObjectiveNet(ObjectiveConfig()), torch.Generator().manual_seed(0)
    learned = ops.learned_objective(net, initial_alpha(net.config, generator))
    mask = (torch.arange(20) < torch.tensor([[20], [20], [1], [13], [7]])).float()
    actions, pi, u = (torch.rand(5, 20, 6, generator=generator) * 2 - 1 for _ in range(3))
    features = torch.randn(5, 20, 4, generator=generator)
    inputs = ObjectiveInputs(features, actions, None, mask)
    want = _by_autograd(learned, pi, inputs, u)
    for a, b in zip(_by_hand(learned, pi, inputs, u), want, strict=True):
        assert ((a - b).norm() / b.norm()).item() < 1e-4


@torch.no_grad()
def test_reads_alpha_in_place(make_inputs):
    learned, pi, inputs = make_inputs()
    u = torch.ones_like(pi)
    before = _by_hand(learned, pi, inputs, u)
    learned.alpha.mul_(0.5)
    fresh = ops.learned_objective(learned.net, learned.alpha.clone())
    for a, b, old in zip(
        _by_hand(learned, pi, inputs, u), _by_hand(fresh, pi, inputs, u), before, strict=True
    ):
        torch.testing.assert_close(a, b)
        assert (a - old).norm() > 1e-3 * old.norm()


@torch.no_grad()
def test_a_gradient_stays_what_it_was_when_the_next_is_computed(make_inputs):
    learned, pi, inputs = make_inputs()
    tape = learned.forward(pi, inputs)
    first = learned.alpha_gradient(tape, torch.ones_like(pi))
    kept = first.clone()
    second = learned.alpha_gradient(tape, -2 * torch.ones_like(pi))
    assert torch.equal(first, kept)
    torch.testing.assert_close(second, -2 * first)  # linear in u, nothing accumulates


@torch.no_grad()
def test_one_tape_gives_the_same_derivatives_again(make_inputs):
    learned, pi, inputs = make_inputs()
    tape, u = learned.forward(pi, inputs), torch.ones_like(pi)
    action = learned.action_gradient(tape)
    mixed = learned.alpha_gradient(tape, u)
    assert torch.equal(learned.action_gradient(tape), action)
    assert torch.equal(learned.alpha_gradient(tape, u), mixed)


@torch.no_grad()
def _padded(inputs, pi, steps, value):
    def longer(x, fill=value):
        shape = (x.shape[0], steps, *x.shape[2:])
        return torch.cat([x, torch.full(shape, fill, dtype=x.dtype)], 1)

    observations = None if inputs.observations is None else longer(inputs.observations)
    mask = longer(inputs.mask, 0.0)
    features, actions = longer(inputs.features), longer(inputs.actions)
    return ObjectiveInputs(features, actions, observations, mask), longer(pi)


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("value", [0.0, 7.0])
@pytest.mark.parametrize("variant", [{}, {"use_observation": True, "bidirectional": True}], ids=str)
def test_a_padded_segment_gives_what_the_unpadded_one_gives(make_inputs, variant, value):
    """T = 6 against the same segments padded to T = 13, with whatever the padding holds."""
    learned, pi, inputs = make_inputs(2, **variant)
    u = torch.ones_like(pi)
    loss, action, mixed = _by_hand(learned, pi, inputs, u)
    longer, pi_longer = _padded(inputs, pi, 7, value)
    u = torch.cat([u, torch.full_like(u, 5.0), torch.full_like(u[:, :1], 5.0)], 1)
    padded_loss, padded_action, padded_mixed = _by_hand(learned, pi_longer, longer, u)
    for padded, plain in ((padded_loss, loss), (padded_action, action)):
        torch.testing.assert_close(padded[:, :6], plain, rtol=1e-12, atol=1e-13)
        assert padded[:, 6:].abs().max() == 0
    torch.testing.assert_close(padded_mixed, mixed, rtol=1e-11, atol=1e-12)
    assert action[:, 0].abs().min() > 0  # the authors' code gives none for a short segment


@torch.no_grad()
def test_segments_do_not_see_each_other(make_inputs):
    learned, pi, inputs = make_inputs(2, use_observation=True)
    loss, action, _ = _by_hand(learned, pi, inputs, pi)
    order = [3, 0, 4, 2, 1]
    shuffled = replace(
        inputs,
        **{n: getattr(inputs, n)[order] for n in ("features", "actions", "observations", "mask")},
    )
    got_loss, got_action, _ = _by_hand(learned, pi[order], shuffled, pi)
    torch.testing.assert_close(got_loss, loss[order], rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(got_action, action[order], rtol=1e-12, atol=1e-13)
