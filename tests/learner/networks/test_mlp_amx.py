"""Networks on the matrix unit: as near to float64 as the BLAS, whatever their sizes."""

import dataclasses

import pytest
import torch
from torch import Tensor

from metagenrl.learner.native import library, mlp_amx
from metagenrl.learner.networks import mlp, mlp_reference
from metagenrl.learner.networks.agent_networks import initial_parameters
from metagenrl.learner.networks.mlp import MLP

pytestmark = pytest.mark.skipif(
    not library.matrix_unit(), reason="needs an Intel processor with AMX, and C kernels"
)

# Rows, widths and inputs beside, at and beyond a block of 32; rows of more than one group of 192.
CASES = {
    "paper's critics": (MLP(23, 350, 2, 1, 350), 2, 500),
    "paper's policy": (MLP(17, 350, 2, 6, 350), 1, 193),
    "whole blocks": (MLP(32, 160, 2, 4, 160), 1, 192),
    "one layer": (MLP(3, 129, 1, 2, 129), 2, 64),
    "widest": (MLP(384, 384, 3, 17, 384), 1, 70),
    "own inputs": (MLP(5, 150, 2, 3, 150), 3, 97),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[MLP, Tensor, Tensor, Tensor]:
    """A network, parameters and a direction `[E, P]`, and inputs."""
    net, members, rows = CASES[request.param]
    g = torch.Generator().manual_seed(0)
    flat = initial_parameters(net, members, g)
    flat += 0.05 * torch.randn(flat.shape, generator=g)
    direction = torch.randn(flat.shape, generator=g)
    own = members if request.param == "own inputs" else 1
    return net, flat, direction, torch.randn(own, rows, net.inputs, generator=g)


@torch.no_grad()
def _derivatives(module, net: MLP, flat: Tensor, direction: Tensor, x: Tensor) -> list[Tensor]:
    """Output, gradient, input's adjoint and tangent."""
    p, gradient = net.layout.views(flat), torch.empty_like(flat)
    y, tape = module.forward(net, p, x)
    dy = torch.linspace(-1, 1, y.numel()).to(y).view(y.shape).sin_()
    dx = module.backward(net, p, tape, dy, net.layout.views(gradient), True)
    return [y, gradient, dx, module.parameter_tangent(net, p, net.layout.views(direction), tape)]


def _errors(got: list[Tensor], wanted: list[Tensor]) -> list[float]:
    return [float((a.double() - b).norm() / b.norm()) for a, b in zip(got, wanted, strict=True)]


def test_float32_is_as_near_to_float64_as_on_the_blas(case) -> None:
    net, *tensors = case
    exact = _derivatives(mlp_reference, net, *(x.double() for x in tensors))
    blas = _errors(_derivatives(mlp_reference, net, *tensors), exact)
    for ours, theirs in zip(
        _errors(_derivatives(mlp_amx, net, *tensors), exact), blas, strict=True
    ):
        assert ours < 2 * theirs
        assert ours < 1e-5


def test_fewer_terms_are_less_exact_in_the_order_of_their_bits(case) -> None:
    net, flat, _, x = case
    p = net.layout.views(flat)
    with torch.no_grad():
        exact, _ = mlp_reference.forward(net, net.layout.views(flat.double()), x.double())
        of = [dataclasses.replace(net, terms=terms) for terms in (3, 2, 1)]
        (three, two, one) = (_errors([mlp_amx.evaluate(n, p, x)], [exact])[0] for n in of)
    assert three < 1e-6 < two < 1e-4 < one < 0.05


def test_evaluation_is_forward_and_repeats_to_the_bit(case) -> None:
    net, *tensors = case
    first, second = (_derivatives(mlp_amx, net, *tensors) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    with torch.no_grad():
        assert torch.equal(mlp.evaluate(net, net.layout.views(tensors[0]), tensors[2]), first[0])


def test_gradients_of_inputs_and_parameters_do_not_depend_on_each_other(case) -> None:
    net, flat, _, x = case
    p, gradient, both = net.layout.views(flat), torch.empty_like(flat), torch.empty_like(flat)
    with torch.no_grad():
        y, tape = mlp_amx.forward(net, p, x)
        dx = mlp_amx.backward(net, p, tape, y, None, True)
        assert mlp_amx.backward(net, p, tape, y, net.layout.views(gradient), False) is None
        dx_both = mlp_amx.backward(net, p, tape, y, net.layout.views(both), True)
    assert torch.equal(dx, dx_both)
    assert torch.equal(gradient, both)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("terms", [1, 2, 3])
def test_what_is_not_finite_stays_so(value: float, terms: int) -> None:
    net = MLP(5, 150, 1, 1, 150, terms=terms)
    flat = initial_parameters(net, 1, torch.Generator().manual_seed(0))
    x = torch.ones(1, 64, 5)
    x[0, 40, 3] = value
    with torch.no_grad():
        y = mlp_amx.evaluate(net, net.layout.views(flat), x)
    finite = y.isfinite().view(-1)
    assert not finite[40]
    assert finite.sum() == 63


def test_what_runs_on_the_matrix_unit() -> None:
    wide = MLP(5, 350, 2, 1, 350)
    rows = torch.ones(1, 64, 5)
    with torch.no_grad():
        assert mlp_amx.takes(wide, rows)
        assert not mlp_amx.takes(wide, rows.double())
        assert not mlp_amx.takes(wide, rows[:, :63])
        for other in (
            {"relu_units": 175},
            {"outputs": 0},
            {"hidden_units": 400, "relu_units": 400},
        ):
            assert not mlp_amx.takes(dataclasses.replace(wide, **other), rows)
    assert not mlp_amx.takes(wide, rows)  # a graph would be recorded
