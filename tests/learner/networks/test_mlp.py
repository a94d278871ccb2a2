"""Networks and their hand-written derivatives against torch.nn.functional and torch.func."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from metagenrl.learner.networks import mlp
from metagenrl.learner.networks.mlp import MLP

NETS = {
    "relu": MLP(3, 6, 2, 2, 6),
    "wide input": MLP(19, 16, 1, 3, 8),
    "mixed": MLP(3, 6, 2, 1, 3),
    "no output layer": MLP(2, 4, 3, 0, 2),
    "linear": MLP(3, 1, 0, 2, 1),
}
ROWS = 70  # two whole blocks of rows of the fused networks and a part of one


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _outputs(net: MLP) -> int:
    return net.outputs or net.hidden_units


def _function(net: MLP) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda flat, x: mlp.apply(net, net.layout.views(flat), x)


def _close(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-11)


@pytest.fixture(params=NETS)
def net(request: pytest.FixtureRequest) -> MLP:
    return NETS[request.param]


@pytest.fixture(params=[1, 2])
def case(request: pytest.FixtureRequest, net: MLP) -> tuple[Tensor, Tensor]:
    """Flat parameters `[E, P]` and inputs `[E, N, inputs]`."""
    members = request.param
    return _normal(members, net.layout.size), _normal(members, ROWS, net.inputs, seed=1)


def test_one_hidden_layer_by_hand():
    """z = (1, -2, 3): u = (1, 0, 9), mean 10/3, variance 146/9; the output is their sum."""
    net = MLP(1, 3, 1, 1, 2)
    flat = torch.tensor([1.0, -2, 3, 0, 0, 0, 1, 1, 2, 0, 0, 0, 1, 1, 1, 5]).double()
    y = mlp.apply(net, net.layout.views(flat[None]), torch.ones(1, 1, 1, dtype=torch.float64))
    std = (146 / 9 + 1e-5) ** 0.5
    expected = (1 - 10 / 3 + 0 - 10 / 3 + 2 * (9 - 10 / 3)) / std + 5
    assert y.item() == pytest.approx(expected, abs=1e-12)


def test_apply_equals_torch_nn(net, case):
    flat, x = case
    views = net.layout.views(flat)
    for e in range(len(x)):
        h = x[e]
        for i in range(net.hidden_layers):
            h = h @ views[f"w{i}"][e] + views[f"b{i}"][e]
            relu, square = h[:, : net.relu_units], h[:, net.relu_units :]
            h = torch.cat([relu.relu(), square**2], -1)
            norm = (views[f"gamma{i}"][e], views[f"beta{i}"][e])
            h = functional.layer_norm(h, (net.hidden_units,), *norm, eps=1e-5)
        if net.outputs:
            h = h @ views["w_out"][e] + views["b_out"][e]
        _close(mlp.apply(net, views, x)[e], h)


@pytest.mark.usefixtures("each_backend")
def test_forward_and_backward_equal_autograd(net, case):
    flat, x = case
    y, pullback = torch.func.vjp(_function(net), flat, x)
    dy, grads = _normal(*y.shape, seed=2), torch.full_like(flat, 7.0)
    with torch.no_grad():
        got, tape = mlp.forward(net, net.layout.views(flat), x)
        dx = mlp.backward(
            net, net.layout.views(flat), tape, dy.clone(), net.layout.views(grads), True
        )
    _close(got, y)
    want_flat, want_x = pullback(dy)
    _close(dx, want_x)
    _close(grads, want_flat)


@pytest.mark.usefixtures("each_backend")
@torch.no_grad()
def test_backward_computes_only_what_is_asked(net, case):
    flat, x = case
    views = net.layout.views(flat)
    y, tape = mlp.forward(net, views, x)
    dy, both, alone = torch.ones_like(y), torch.empty_like(flat), torch.empty_like(flat)
    dx = mlp.backward(net, views, tape, dy.clone(), net.layout.views(both), True)
    assert torch.equal(mlp.backward(net, views, tape, dy.clone(), None, True), dx)
    assert mlp.backward(net, views, tape, dy.clone(), net.layout.views(alone)) is None
    assert torch.equal(alone, both)


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("name", ["relu", "mixed", "linear"])
def test_parameter_tangent_equals_forward_mode(name, members):
    net = NETS[name]
    flat, direction = (_normal(members, net.layout.size, seed=i) for i in (0, 3))
    x = _normal(members, ROWS, net.inputs, seed=1)
    _, want = torch.func.jvp(lambda p: _function(net)(p, x), (flat,), (direction,))
    with torch.no_grad():
        views = net.layout.views(flat)
        _, tape = mlp.forward(net, views, x)
        got = mlp.parameter_tangent(net, views, net.layout.views(direction), tape)
    _close(got, want)


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("output_adjoint", [True, False])
def test_input_tangent_and_dual_backward_equal_torch_func(net, case, output_adjoint):
    flat, x = case
    xd = _normal(*x.shape, seed=4)
    rows = (*x.shape[:2], _outputs(net))
    ayd, ay = _normal(*rows, seed=5), _normal(*rows, seed=6) * output_adjoint

    def scalar(flat, x, xd):
        y, yd = torch.func.jvp(lambda x: _function(net)(flat, x), (x,), (xd,))
        return (ay * y).sum() + (ayd * yd).sum(), yd

    want, want_tangent = torch.func.grad(scalar, argnums=(0, 1, 2), has_aux=True)(flat, x, xd)
    grads, views = torch.full_like(flat, 7.0), net.layout.views(flat)
    with torch.no_grad():
        _, tape = mlp.forward(net, views, x)
        tangent, tangents = mlp.input_tangent(net, views, tape, xd)
        # without an output layer the caller always has an adjoint
        given = ay.clone() if output_adjoint or not net.outputs else None
        got = mlp.dual_backward(
            net, views, tape, tangents, given, ayd.clone(), net.layout.views(grads), True
        )
    _close(tangent, want_tangent)
    for a, b in zip((grads, *got), want, strict=True):
        _close(a, b)


@pytest.mark.usefixtures("each_backend")
@torch.no_grad()
def test_members_can_share_their_input():
    net = NETS["mixed"]
    flat, shared = _normal(2, net.layout.size), _normal(1, ROWS, net.inputs, seed=1)
    dy, results = _normal(2, ROWS, net.outputs, seed=2), []
    for x in (shared, shared.repeat(2, 1, 1)):
        grads = torch.empty_like(flat)
        y, tape = mlp.forward(net, net.layout.views(flat), x)
        dx = mlp.backward(
            net, net.layout.views(flat), tape, dy.clone(), net.layout.views(grads), True
        )
        results.append((y, dx, grads))
    for one, each in zip(*results, strict=True):
        _close(one, each)


def _first_and_second_order(net: MLP, flat: Tensor, x: Tensor) -> list[Tensor]:
    """Everything that `forward` and the hand-written derivatives give, for fixed adjoints."""
    views, grads, dual = net.layout.views(flat), torch.empty_like(flat), torch.empty_like(flat)
    xd = _normal(*x.shape, seed=4).to(x.dtype)
    dy = _normal(*x.shape[:2], _outputs(net), seed=2).to(x.dtype)
    y, tape = mlp.forward(net, views, x)
    dx = mlp.backward(net, views, tape, dy.clone(), net.layout.views(grads), True)
    along = mlp.parameter_tangent(net, views, net.layout.views(flat.flip(-1)), tape)
    yd, tangents = mlp.input_tangent(net, views, tape, xd)
    pair = mlp.dual_backward(
        net, views, tape, tangents, dy.clone(), dy.clone(), net.layout.views(dual), True
    )
    return [y, dx, grads, along, yd, dual, *pair]


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("units", [6, 17, 32, 64, 100, 128, 130])
@torch.no_grad()
def test_float32_agrees_with_float64(units):
    """Widths around the vectors' lengths, in the kernels that training runs on."""
    net = MLP(5, units, 2, 3, units // 2)
    flat = _normal(2, net.layout.size) / units**0.5
    x = _normal(2, ROWS, net.inputs, seed=1)
    single = _first_and_second_order(net, flat.float(), x.float())
    for got, want in zip(single, _first_and_second_order(net, flat, x), strict=True):
        assert got.dtype == torch.float32
        assert ((got - want).norm() / want.norm()).item() < 1e-4
