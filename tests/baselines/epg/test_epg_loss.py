"""The evolved loss: sizes by hand, values against a plain computation, gradients that flow."""

import math

import numpy as np
import pytest
import torch

from metagenrl.baselines.epg.loss_net import LossNet, initial_loss_parameters
from metagenrl.baselines.epg.networks import EpgNetworks, Gaussian
from metagenrl.runs.config.epg_config import EpgConfig


def test_sizes_by_hand() -> None:
    """Pendulum: 3 observations, 1 action."""
    config = EpgConfig(pad_observations=3, pad_actions=1)
    # observation, action, reward, bonus, end, mean and log standard deviation, memory
    assert config.features == 3 + 1 + 1 + 1 + 1 + 2 * 1 + 32 == 41
    convolutions = (41 * 6 * 16 + 16) + (16 * 4 * 32 + 32)
    dense = (32 * 32 + 32) + ((41 + 32) * 16 + 16) + (16 + 1)
    assert LossNet(41).layout.size == convolutions + dense == 8_289
    # Hopper: 11 observations, 3 actions.
    assert EpgConfig(pad_observations=11, pad_actions=3).features == 55


def test_an_agents_sizes_by_hand() -> None:
    nets = EpgNetworks(observation_size=3, action_size=1, units=64, memory_units=32)
    policy = (3 * 64 + 64) + (64 * 64 + 64) + (64 + 1) + 1  # and the log standard deviation
    value = (3 * 64 + 64) + (64 * 64 + 64) + (64 + 1)
    memory = 64 * 32 + 32
    assert nets.layout.size == policy + value + memory
    theta = nets.layout.views(nets.initial(torch.Generator().manual_seed(0)))
    assert nets.policy(theta, torch.zeros(5, 3)).mean.shape == (5, 1)
    assert nets.value(theta, torch.zeros(5, 3)).shape == (5,)
    assert nets.memory(theta).shape == (32,)


@pytest.fixture
def problem() -> tuple[LossNet, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    net = LossNet(features=7)
    return net, initial_loss_parameters(net, generator), torch.randn(40, 7, generator=generator)


def leaky(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, 0.2 * x)


def test_context_and_loss_against_loops(
    problem: tuple[LossNet, torch.Tensor, torch.Tensor],
) -> None:
    net, flat, experience = problem
    flat = flat + 0.1 * torch.randn(flat.shape, generator=torch.Generator().manual_seed(1))
    phi = net.layout.views(flat)
    w = {name: view.numpy().astype(np.float64) for name, view in phi.items()}
    x = experience.numpy().astype(np.float64)  # [N, F]

    def convolved(
        rows: np.ndarray, weights: np.ndarray, bias: np.ndarray, stride: int
    ) -> np.ndarray:
        kernel = weights.shape[2]
        starts = range(0, len(rows) - kernel + 1, stride)
        return (
            np.array(
                [[(rows[s : s + kernel].T * channel).sum() for channel in weights] for s in starts]
            )
            + bias
        )

    first = leaky(convolved(x, w["conv0_w"], w["conv0_b"], 5))
    second = leaky(convolved(first, w["conv1_w"], w["conv1_b"], 2))
    assert first.shape == (7, 16)  # (40 - 6) // 5 + 1
    assert second.shape == (2, 32)  # (7 - 4) // 2 + 1
    context = w["context_w"] @ second.mean(0) + w["context_b"]
    got = net.context(phi, experience)
    np.testing.assert_allclose(got, context, rtol=1e-4, atol=1e-5)
    losses = [
        w["out_w"] @ leaky(w["hidden_w"] @ np.concatenate([row, context]) + w["hidden_b"])
        + w["out_b"]
        for row in x[:5]
    ]
    loss = float(net.loss(phi, experience[:5], got))
    assert loss == pytest.approx(float(np.mean(losses)), rel=1e-4)


def test_the_shortest_buffer_has_a_context_and_a_shorter_one_none(
    problem: tuple[LossNet, torch.Tensor, torch.Tensor],
) -> None:
    net, flat, experience = problem
    phi = net.layout.views(flat)
    assert net.context(phi, experience[:21]).shape == (32,)
    with pytest.raises(RuntimeError):
        net.context(phi, experience[:20])
    with pytest.raises(ValueError, match="buffer_size: got 20, allowed: at least 21"):
        EpgConfig(buffer_size=20, update_every=16)


def test_initial_weights_have_the_variance_of_their_inputs() -> None:
    net = LossNet(features=41)
    views = net.layout.views(initial_loss_parameters(net, torch.Generator().manual_seed(0)))
    assert float(views["conv0_w"].std()) == pytest.approx((41 * 6) ** -0.5, rel=0.05)
    assert float(views["hidden_w"].std()) == pytest.approx((41 + 32) ** -0.5, rel=0.1)
    assert all(not view.any() for name, view in views.items() if name.endswith("_b"))


def test_a_gaussians_probability_and_divergence() -> None:
    p = Gaussian(torch.tensor([[0.5, -1.0]]), torch.log(torch.tensor([[2.0, 0.5]])))
    a = torch.tensor([[1.5, -1.5]])
    # (a - mean) / std = 0.5 and -1; up to log(2 pi) a dimension
    by_hand = -0.5 * 0.25 - 0.5 * 1.0 - math.log(2.0) - math.log(0.5)
    assert float(p.log_probability(a)) == pytest.approx(by_hand)
    q = Gaussian(torch.tensor([[0.0, -1.0]]), torch.zeros(1, 2))
    torch_p = torch.distributions.Normal(p.mean, p.log_std.exp())
    torch_q = torch.distributions.Normal(q.mean, q.log_std.exp())
    expected = torch.distributions.kl_divergence(torch_p, torch_q).sum()
    assert float(p.divergence(q)) == pytest.approx(float(expected), rel=1e-5)
    assert float(p.divergence(p)) == pytest.approx(0.0, abs=1e-6)
