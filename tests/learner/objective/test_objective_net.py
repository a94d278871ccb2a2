"""L_alpha against torch.nn's layers segment by segment, and its properties (section 3)."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

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
    {"use_time": False, "use_value": False, "use_observation": True, "bidirectional": True},
]


def _mixed(z):
    half = z.shape[-1] // 2
    return torch.cat([z[..., :half].relu(), z[..., half:] ** 2], -1)


def _normed(p, x, layers):
    for i in range(layers):
        x = _mixed(x @ p[f"w{i}"] + p[f"b{i}"])
        x = functional.layer_norm(x, x.shape[-1:], p[f"gamma{i}"], p[f"beta{i}"], 1e-5)
    return x


def _plain(p, x):
    x = _mixed(_mixed(x @ p["w0"] + p["b0"]) @ p["w1"] + p["b1"])
    return x @ p["w2"] + p["b2"]


def _lstm(p, x, reverse):
    """`[T, inputs] -> [T, H]` by torch.nn.LSTM, which has a second bias: zero."""
    module = torch.nn.LSTM(x.shape[-1], p["w_recurrent"].shape[0], dtype=x.dtype)
    module.weight_ih_l0.data = torch.cat([p["w_action"], p["w_constant"]]).mT.contiguous()
    module.weight_hh_l0.data = p["w_recurrent"].mT.contiguous()
    module.bias_ih_l0.data, module.bias_hh_l0.data = p["b"], torch.zeros_like(p["b"])
    return module(x.flip(0))[0].flip(0) if reverse else module(x)[0]


@torch.no_grad()
def _reference(net, alpha, pi, inputs):
    """l of each segment on its own, cut to its valid steps: padding does not exist here."""
    views = net.layout.views(alpha)
    parts = {name: net.part(views, name) for name in ("action", "features", "observation", "head")}
    loss = torch.zeros_like(inputs.mask)
    for b, steps in enumerate(inputs.mask.sum(1).long().tolist()):
        pairs = torch.stack([inputs.actions[b, :steps], pi[b, :steps]], -1)  # [steps, A, 2]
        x = [_normed(parts["action"], pairs, 3).mean(1)]
        x.append(_plain(parts["features"], inputs.features[b, :steps]))
        if inputs.observations is not None:
            single = inputs.observations[b, :steps, :, None]
            x.append(_plain(parts["observation"], single).mean(1))
        joined = torch.cat(x, -1)
        h = [_lstm(net.part(views, name), joined, backward) for name, backward in net.lstm_names]
        y = _normed(parts["head"], torch.cat(h, -1), 2)
        y = (y @ parts["head"]["w_out"] + parts["head"]["b_out"]).squeeze(-1)
        loss[b, :steps] = net.config.eta * torch.tanh(y / net.config.eta)
    return loss


@pytest.fixture
def make_inputs(make_problem):
    """An objective, its alpha, a policy's actions and inputs of random numbers."""

    def make(action_size=2, **variant):
        problem = make_problem(action_size, **variant)
        batch, config = problem.batches[0], problem.net.config
        b, t = batch.mask.shape
        features = torch.randn(b, t, problem.net.features.inputs, dtype=torch.float64)
        observations = batch.observations[:, :-1] if config.use_observation else None
        inputs = ObjectiveInputs(features, batch.actions, observations, batch.mask)
        return problem.net, problem.alpha, torch.rand_like(batch.actions) * 2 - 1, inputs

    torch.manual_seed(0)
    return make


def test_paper_architecture_has_15497_parameters():
    assert ObjectiveNet(ObjectiveConfig()).layout.size == 15_497
    assert initial_alpha(ObjectiveConfig(), torch.Generator()).shape == (15_497,)


def test_parameters_by_part():
    """Action 2 of 32 + 32 of 32 + 32 of 32 with norms, features 4-32-32-8, LSTM 40 + 32, head."""
    sizes = {}
    for name, shape in ObjectiveNet(ObjectiveConfig()).layout.shapes:
        part = name.split("/")[0]
        sizes[part] = sizes.get(part, 0) + torch.Size(shape).numel()
    assert sizes == {
        "action": (2 + 1 + 2) * 32 + 2 * (32 + 1 + 2) * 32,
        "features": 5 * 32 + 33 * 32 + 33 * 8,
        "lstm": (40 + 32 + 1) * 128,
        "head": 2 * (32 + 1 + 2) * 32 + 33,
    }


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("action_size", [1, 3])
def test_equals_torch_nn_on_unpadded_segments(make_inputs, variant, action_size):
    net, alpha, pi, inputs = make_inputs(action_size, **variant)
    want = _reference(net, alpha, pi, inputs)
    got = apply(net, alpha, pi, inputs)
    torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-12)
    assert want.abs().max() > 0.1


def test_initial_alpha():
    config = ObjectiveConfig(bidirectional=True)
    generator = torch.Generator().manual_seed(1)
    views = ObjectiveNet(config).layout.views(initial_alpha(config, generator))
    for name in ("lstm/b", "lstm_forward/b"):  # gates i, f, g, o: the forget gate starts open
        assert views[name].tolist() == [0.0] * 32 + [1.0] * 32 + [0.0] * 64
    assert views["action/gamma2"].unique().tolist() == [1.0]
    assert views["head/beta0"].abs().max() == 0
    assert views["features/b1"].abs().max() == 0
    weights, bound = views["head/w0"], (6 / 96) ** 0.5  # [64, 32], Glorot-uniform
    assert bound * 0.97 < weights.abs().max() <= bound
    assert abs(weights.std().item() / (bound / 3**0.5) - 1) < 0.05


@pytest.mark.parametrize("variant", [{}, {"use_observation": True, "bidirectional": True}], ids=str)
def test_action_dimensions_can_be_permuted(make_inputs, variant):
    net, alpha, pi, inputs = make_inputs(5, **variant)
    order = [3, 0, 4, 1, 2]
    permuted = replace(inputs, actions=inputs.actions[..., order])
    got = apply(net, alpha, pi[..., order], permuted)
    torch.testing.assert_close(got, apply(net, alpha, pi, inputs), rtol=1e-12, atol=1e-12)
    other = apply(net, alpha, pi[..., order], inputs)  # the pairs matter
    assert (other - got).abs().max() > 1e-3


def test_one_alpha_serves_every_action_size(make_inputs):
    """Copying an action dimension leaves the mean over them, and so the loss, as it was."""
    net, alpha, pi, inputs = make_inputs(1)
    wide = replace(inputs, actions=inputs.actions.expand(-1, -1, 7))
    got = apply(net, alpha, pi.expand(-1, -1, 7), wide)
    torch.testing.assert_close(got, apply(net, alpha, pi, inputs), rtol=1e-12, atol=1e-12)


def _changed_steps(net, alpha, pi, inputs, step):
    """Steps of a full segment whose l changes with the reward of `step`."""
    features = inputs.features.clone()
    features[0, step, 0] += 1.0
    change = apply(net, alpha, pi, replace(inputs, features=features)) - apply(
        net, alpha, pi, inputs
    )
    assert change[1:].abs().max() == 0  # segments do not see each other
    return change[0].nonzero().flatten().tolist()


def test_reversed_lstm_sees_the_future_only(make_inputs):
    arguments = make_inputs(2)
    assert _changed_steps(*arguments, step=0) == [0]
    assert _changed_steps(*arguments, step=3) == [0, 1, 2, 3]


def test_bidirectional_lstm_sees_past_and_future(make_inputs):
    net, alpha, pi, inputs = make_inputs(2, bidirectional=True)
    assert _changed_steps(net, alpha, pi, inputs, step=3) == [0, 1, 2, 3, 4, 5]
    # with the head deaf to the backward LSTM, what is left sees the past only
    net.layout.views(alpha)["head/w0"][: net.config.lstm_units] = 0
    assert _changed_steps(net, alpha, pi, inputs, step=0) == [0, 1, 2, 3, 4, 5]
    assert _changed_steps(net, alpha, pi, inputs, step=3) == [3, 4, 5]


def test_loss_is_bounded_by_eta(make_inputs):
    net, alpha, pi, inputs = make_inputs(2, eta=0.5)
    huge = apply(net, alpha * 30, pi, inputs)
    assert 0.49 < huge.abs().max() <= 0.5
    unbounded = apply(ObjectiveNet(replace(net.config, eta=1e9)), alpha, pi, inputs)
    torch.testing.assert_close(apply(net, alpha, pi, inputs), 0.5 * torch.tanh(unbounded / 0.5))


@pytest.mark.parametrize("variant", [{}, {"use_observation": True, "bidirectional": True}], ids=str)
def test_contents_of_the_padding_do_not_matter(make_inputs, variant):
    net, alpha, pi, inputs = make_inputs(2, **variant)
    padding = 9 * (1 - inputs.mask)[..., None]
    observations = None if inputs.observations is None else inputs.observations + padding
    garbage = ObjectiveInputs(
        inputs.features + padding, inputs.actions - padding, observations, inputs.mask
    )
    got = apply(net, alpha, pi + padding, garbage)
    torch.testing.assert_close(got, apply(net, alpha, pi, inputs), rtol=1e-12, atol=1e-12)
    assert got[inputs.mask == 0].abs().max() == 0


def test_every_part_of_alpha_has_a_gradient(make_inputs):
    net, alpha, pi, inputs = make_inputs(3, use_observation=True, bidirectional=True)
    (gradient,) = torch.autograd.grad(apply(net, alpha.requires_grad_(), pi, inputs).sum(), alpha)
    zero = [name for name, g in net.layout.views(gradient).items() if g.abs().max() == 0]
    assert zero == []
