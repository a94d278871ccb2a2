"""Wide networks as one call: as near to float64 as the BLAS, whatever their sizes."""

import dataclasses
from typing import Literal

import pytest
import torch
from torch import Tensor

from metagenrl.learner.native import forms, library, mlp_wide
from metagenrl.learner.networks import mlp, mlp_reference
from metagenrl.learner.networks.agent_networks import initial_parameters
from metagenrl.learner.networks.mlp import MLP

# What can be multiplied with, and terms of which it is used for.
FORMS = {"amx": (1, 2, 3), "avx512": (1, 2, 3), "avx2": (1, 2, 3), "bf16": (1,)}


def _has(form: str) -> bool:
    if not library.backend().startswith(("avx512", "avx2") if form == "avx2" else "avx512"):
        return False
    usable = {"amx": "metagenrl_amx_usable", "bf16": "metagenrl_bf16_usable"}
    return form not in usable or bool(getattr(library._LIBRARY, usable[form])())


@pytest.fixture
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Everything runs in this form."""
    if not _has(request.param):
        pytest.skip(f"needs a processor with {request.param}, and C kernels")
    monkeypatch.setattr(library, "_WIDE", dict.fromkeys(FORMS[request.param], request.param))
    if request.param == "avx2":
        monkeypatch.setattr(library, "_LEVEL", "avx2")
        monkeypatch.setattr(library, "_FUNCTIONS", {})
    return request.param


exact_forms = pytest.mark.parametrize("form", ["amx", "avx512", "avx2"], indirect=True)
every_form = pytest.mark.parametrize("form", FORMS, indirect=True)

# Rows, widths and inputs beside, at and beyond a block of 14, 24 or 32; rows of more than one
# group of 192 or 196.
CASES = {
    "paper's critics": (MLP(23, 350, 2, 1, 350), 2, 500),
    "paper's policy": (MLP(17, 350, 2, 6, 350), 1, 193),
    "whole blocks": (MLP(32, 160, 2, 4, 160), 1, 192),
    "one layer": (MLP(3, 129, 1, 2, 129), 2, 64),
    "widest": (MLP(384, 384, 3, 17, 384), 1, 70),
    "one column": (MLP(33, 257, 2, 1, 257), 1, 211),
    "own inputs": (MLP(5, 150, 2, 3, 150), 3, 97),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, form: str) -> tuple[MLP, Tensor, Tensor, Tensor]:
    """A network, parameters and a direction `[E, P]`, and inputs."""
    net, members, rows = CASES[request.param]
    if form == "bf16":
        net = dataclasses.replace(net, terms=1)
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


@exact_forms
def test_float32_is_as_near_to_float64_as_on_the_blas(case) -> None:
    net, *tensors = case
    exact = _derivatives(mlp_reference, net, *(x.double() for x in tensors))
    blas = _errors(_derivatives(mlp_reference, net, *tensors), exact)
    for ours, theirs in zip(
        _errors(_derivatives(mlp_wide, net, *tensors), exact), blas, strict=True
    ):
        assert ours < 2 * theirs
        assert ours < 1e-5


@pytest.mark.parametrize("form", ["amx"], indirect=True)
def test_fewer_terms_are_less_exact_in_the_order_of_their_bits(case) -> None:
    net, flat, _, x = case
    p = net.layout.views(flat)
    with torch.no_grad():
        exact, _ = mlp_reference.forward(net, net.layout.views(flat.double()), x.double())
        of = [dataclasses.replace(net, terms=terms) for terms in (3, 2, 1)]
        (three, two, one) = (_errors([mlp_wide.evaluate(n, p, x)], [exact])[0] for n in of)
    assert three < 1e-6 < two < 1e-4 < one < 0.05


@pytest.mark.parametrize("form", ["bf16"], indirect=True)
def test_products_of_bfloat16_are_those_of_rounded_factors(case) -> None:
    """To the bit those of float32 are not: sums round in another order."""
    net, flat, direction, x = case
    exact = _derivatives(mlp_reference, net, flat.double(), direction.double(), x.double())
    errors = _errors(_derivatives(mlp_wide, net, flat, direction, x), exact)
    assert all(1e-5 < error < 0.1 for error in errors)
    one = dataclasses.replace(net, hidden_layers=1)  # its first product's factors are known
    few = flat[:, : one.layout.size]
    with torch.no_grad():
        _, ours = mlp_wide.forward(one, one.layout.views(few), x)
        w = one.layout.views(few)["w0"].bfloat16().double()
        z = x.bfloat16().double() @ w + one.layout.views(few)["b0"].double().unsqueeze(-2)
    got = ours.z[0, :, : x.shape[1], : net.hidden_units]
    assert float((got - z).norm() / z.norm()) < 1e-6


@every_form
def test_evaluation_is_forward_and_repeats_to_the_bit(case) -> None:
    net, *tensors = case
    first, second = (_derivatives(mlp_wide, net, *tensors) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    with torch.no_grad():
        assert torch.equal(mlp.evaluate(net, net.layout.views(tensors[0]), tensors[2]), first[0])


@every_form
def test_gradients_of_inputs_and_parameters_do_not_depend_on_each_other(case) -> None:
    net, flat, _, x = case
    p, gradient, both = net.layout.views(flat), torch.empty_like(flat), torch.empty_like(flat)
    with torch.no_grad():
        y, tape = mlp_wide.forward(net, p, x)
        dx = mlp_wide.backward(net, p, tape, y, None, True)
        assert mlp_wide.backward(net, p, tape, y, net.layout.views(gradient), False) is None
        dx_both = mlp_wide.backward(net, p, tape, y, net.layout.views(both), True)
    assert torch.equal(dx, dx_both)
    assert torch.equal(gradient, both)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("terms", [1, 2, 3])
@every_form
def test_what_is_not_finite_stays_so(form: str, value: float, terms: Literal[1, 2, 3]) -> None:
    if terms not in FORMS[form]:
        pytest.skip(f"{form} is not used for {terms} terms")
    net = MLP(5, 150, 1, 1, 150, terms=terms)
    flat = initial_parameters(net, 1, torch.Generator().manual_seed(0))
    x = torch.ones(1, 64, 5)
    x[0, 40, 3] = value
    with torch.no_grad():
        y = mlp_wide.evaluate(net, net.layout.views(flat), x)
    finite = y.isfinite().view(-1)
    assert not finite[40]
    assert finite.sum() == 63


@every_form
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_gradients_of_what_is_not_finite_are_not(form: str, value: float) -> None:
    net = MLP(5, 150, 2, 1, 150, terms=1)
    flat = initial_parameters(net, 1, torch.Generator().manual_seed(0))
    p, gradient = net.layout.views(flat), torch.empty_like(flat)
    x, dy = torch.ones(1, 64, 5), torch.ones(1, 64, 1)
    dy[0, 40] = value
    with torch.no_grad():
        _, tape = mlp_wide.forward(net, p, x)
        dx = mlp_wide.backward(net, p, tape, dy, net.layout.views(gradient), True)
    finite = dx.isfinite().all(-1).view(-1)
    assert not finite[40]
    assert finite.sum() == 63
    assert not net.layout.views(gradient)["w0"].isfinite().all()  # a ReLU without slope: 0


@every_form
@pytest.mark.parametrize("sizes", [(17, 350, 6), (350, 130, 1), (33, 257, 3)])
def test_nothing_is_written_beyond_the_scratch(
    form: str, sizes: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, units, outputs = sizes
    net, guards = MLP(inputs, units, 2, outputs, units, terms=1), []

    def guarded(form: str, terms: int, shape: mlp_wide.Shape) -> tuple[Tensor, Tensor]:
        made = []
        for needed in library_scratch(form, terms, shape):
            whole = torch.full((needed.numel() + 96,), 7.0).to(needed.dtype)
            begin = -whole.data_ptr() % 64 // whole.element_size() + 32
            made.append(whole[begin : begin + needed.numel() - 32])  # less what aligning takes
            guards.extend((whole[:begin], whole[begin + needed.numel() :]))
        return made[0], made[1]

    library_scratch = library.wide_scratch
    monkeypatch.setattr(library, "wide_scratch", guarded)
    flat = initial_parameters(net, 2, torch.Generator().manual_seed(0))
    _derivatives(mlp_wide, net, flat, flat, torch.ones(1, 205, inputs))
    assert len(guards) == 12
    assert all((guard == 7).all() for guard in guards)


@every_form
def test_what_runs_in_one_call(form: str) -> None:
    wide = MLP(5, 350, 2, 1, 350, terms=1)
    rows = torch.ones(1, 64, 5)
    with torch.no_grad():
        assert forms.wide_network(wide, rows)
        assert not forms.wide_network(wide, rows.double())
        assert not forms.wide_network(wide, rows[:, :63])
        for other in (
            {"relu_units": 175},
            {"outputs": 0},
            {"hidden_units": 1 << 15, "relu_units": 1 << 15},
        ):
            assert not forms.wide_network(dataclasses.replace(wide, **other), rows)
        larger = dataclasses.replace(wide, hidden_units=400, relu_units=400)
        assert forms.wide_network(larger, rows) == (form != "amx")
    assert not forms.wide_network(wide, rows)  # a graph would be recorded
