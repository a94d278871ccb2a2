"""bfloat16 products: near float32, the C kernels equal to plain torch, and nothing else touched."""

import dataclasses

import pytest
import torch

from metagenrl.learner.hyperparams import AgentConfig
from metagenrl.learner.native import library
from metagenrl.learner.networks import kernels, mlp, mlp_bfloat16
from metagenrl.learner.networks.agent_networks import AgentNetworks, initial_parameters
from metagenrl.learner.networks.mlp import MLP

WIDE = MLP(7, 150, 2, 3, 150, bf16=True)
PLAIN = dataclasses.replace(WIDE, bf16=False)


@pytest.fixture(autouse=True)
def on_the_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere these networks run as one call (`mlp_wide.py`), or in float32."""
    monkeypatch.setattr(library, "_WIDE", {})
    monkeypatch.setattr(library, "multiplies_bfloat16", lambda x: True)


def _close(a: torch.Tensor, b: torch.Tensor, tolerance: float) -> bool:
    return float((a.float() - b.float()).norm() / b.float().norm()) < tolerance


@torch.no_grad()
def _run(net: MLP, flat: torch.Tensor, x: torch.Tensor, dy: torch.Tensor):
    p, gradient = net.layout.views(flat), torch.empty_like(flat)
    y, tape = mlp.forward(net, p, x)
    dx = mlp.backward(net, p, tape, dy, net.layout.views(gradient), True)
    return y, dx, gradient, tape


def test_values_and_gradients_are_near_float32_and_not_equal() -> None:
    generator = torch.Generator().manual_seed(0)
    flat = initial_parameters(WIDE, 2, generator)
    flat += 0.05 * torch.randn(flat.shape, generator=generator)
    x = torch.randn(1, 90, 7, generator=generator)
    dy = torch.randn(2, 90, 3, generator=generator)
    mixed, plain = _run(WIDE, flat, x, dy), _run(PLAIN, flat, x, dy)
    assert isinstance(mixed[3], mlp_bfloat16.MixedTape)
    for a, b in zip(mixed[:3], plain[:3], strict=True):
        assert a.dtype == torch.float32
        assert a.shape == b.shape
        assert _close(a, b, 0.1)  # ReLUs near 0 flip
        assert not torch.equal(a, b)


def test_a_processor_without_bfloat16_multiplies_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "multiplies_bfloat16", lambda x: False)
    generator = torch.Generator().manual_seed(0)
    flat, x = initial_parameters(WIDE, 2, generator), torch.randn(1, 90, 7, generator=generator)
    dy = torch.randn(2, 90, 3, generator=generator)
    mixed, plain = _run(WIDE, flat, x, dy), _run(PLAIN, flat, x, dy)
    assert all(torch.equal(a, b) for a, b in zip(mixed[:3], plain[:3], strict=True))


@pytest.mark.parametrize("relu_units", [37, 20])
def test_kernels_equal_plain_torch(relu_units: int) -> None:
    g = torch.Generator().manual_seed(1)
    z, dy = torch.randn(2, 2, 11, 37, generator=g).bfloat16()
    bias, gamma, beta = torch.randn(3, 2, 37, generator=g)
    sums = [[torch.ones(2, 37) for _ in range(3)] for _ in range(2)]
    with torch.no_grad():
        y, stats = kernels.bf16_act_ln(z, bias, gamma, beta, relu_units)
        dz = kernels.bf16_act_ln_backward(dy, z, stats, bias, gamma, relu_units, sums[0])
    # with a graph to record, the plain version runs
    y_plain, stats_plain = kernels.bf16_act_ln(z, bias, gamma, beta, relu_units)
    dz_plain = kernels.bf16_act_ln_backward(dy, z, stats, bias, gamma, relu_units, sums[1])
    assert torch.allclose(stats, stats_plain, rtol=1e-5, atol=1e-6)
    assert _close(y, y_plain, 1e-3)
    assert _close(dz, dz_plain, 1e-3)
    for a, b in zip(*sums, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-4)


def test_narrow_networks_and_float64_keep_their_precision() -> None:
    narrow = dataclasses.replace(WIDE, hidden_units=32, relu_units=32)
    generator = torch.Generator().manual_seed(0)
    flat, x = initial_parameters(narrow, 1, generator), torch.randn(1, 5, 7, generator=generator)
    plain = dataclasses.replace(narrow, bf16=False)
    with torch.no_grad():
        y, _ = mlp.forward(narrow, narrow.layout.views(flat), x)
        wanted, _ = mlp.forward(plain, plain.layout.views(flat), x)
        wide = initial_parameters(WIDE, 1, generator).double()
        _, tape = mlp.forward(WIDE, WIDE.layout.views(wide), x.double())
    assert torch.equal(y, wanted)
    assert not isinstance(tape, mlp_bfloat16.MixedTape)


def test_precision_decides_and_only_the_outer_half_changes() -> None:
    config = AgentConfig(precision="mixed")
    nets = AgentNetworks.of(config, 3, 1)
    assert (nets.policy.bf16, nets.critic.bf16) == (False, False)
    assert (nets.outer.policy.bf16, nets.outer.critic.bf16) == (True, True)
    assert [net.terms for net in (nets.policy, nets.critic)] == [2, 2]
    assert [net.terms for net in (nets.outer.policy, nets.outer.critic)] == [1, 1]
    plain = AgentNetworks.of(AgentConfig(), 3, 1)
    assert plain.outer is plain
    assert [net.terms for net in (plain.policy, plain.critic)] == [3, 3]
    with pytest.raises(ValueError, match="precision: got 'bf16', allowed: fp32, mixed"):
        AgentConfig(precision="bf16")
