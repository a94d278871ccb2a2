"""The loss of an update, put together step by step from its parts."""

import numpy as np
import pytest
import torch

from metagenrl.baselines.epg.experience import Experience, Transition
from metagenrl.baselines.epg.loss_net import LossNet, initial_loss_parameters
from metagenrl.baselines.epg.networks import EpgNetworks
from metagenrl.baselines.epg.ppo_loss import advantages, ppo_loss
from metagenrl.baselines.epg.update_loss import UpdateLoss
from metagenrl.runs.config.epg_config import EpgConfig

CONFIG = EpgConfig(
    pad_observations=3, pad_actions=2, policy_units=4, memory_units=2, update_every=8,
    buffer_size=24, minibatch_size=4, gamma=0.9, gae_lambda=0.8, kl_weight=0.1,
)  # fmt: skip
MINIBATCH = torch.tensor([6, 1, 3])


@pytest.fixture
def experience() -> Experience:
    """16 steps of 2 observations and 1 action; the last 8 are the update's."""
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(17, 2)).astype(np.float32)
    seen = Experience(24, 2, 1, np.random.default_rng(1))
    seen.add(
        [
            Transition(
                numbers[i], rng.normal(size=1).astype(np.float32), float(rng.normal()),
                numbers[i + 1], terminated=i == 10, truncated=i == 13,
            )
            for i in range(16)
        ]
    )  # fmt: skip
    return seen


@pytest.mark.parametrize("weight", [0.0, 0.25])
def test_the_loss_by_its_parts(experience: Experience, weight: float) -> None:
    nets = EpgNetworks(2, 1, CONFIG.policy_units, CONFIG.memory_units)
    old = nets.initial(torch.Generator().manual_seed(2))
    new = old + 0.3 * torch.randn(old.shape, generator=torch.Generator().manual_seed(3))
    before, theta = nets.layout.views(old), nets.layout.views(new)
    net = LossNet(CONFIG.features)
    phi = net.layout.views(initial_loss_parameters(net, torch.Generator().manual_seed(4)))
    got = UpdateLoss(CONFIG, nets, phi, weight, experience, before)(theta, MINIBATCH)

    window = experience.window()
    s = torch.from_numpy(experience.normalized(window.observations))
    policy, zero = nets.policy(theta, s), torch.zeros(16, 1)
    columns = [
        experience.features(window, 3, 2), policy.mean, zero, policy.log_std, zero,
        nets.memory(theta).repeat(16, 1),
    ]  # fmt: skip
    rows = torch.cat(columns, 1)
    assert rows.shape == (16, CONFIG.features)
    context = net.context(phi, torch.cat([torch.zeros(8, CONFIG.features), rows]))
    evolved = net.loss(phi, rows[[8 + 6, 8 + 1, 8 + 3]], context)

    after = torch.from_numpy(experience.normalized(window.next_observations))
    v, v_next = nets.value(before, s)[8:], nets.value(before, after)[8:]
    r, terminated, ended = (
        torch.from_numpy(column[8:]) for column in (window.rewards, window.terminated, window.ended)
    )
    gae = advantages(r, v, v_next, terminated, ended, 0.9, 0.8)
    standard = (gae - gae.mean()) / gae.std(correction=0)
    was, actions = nets.policy(before, s), torch.from_numpy(window.actions)
    ppo = ppo_loss(
        policy.log_probability(actions)[8:][MINIBATCH],
        was.log_probability(actions)[8:][MINIBATCH],
        standard[MINIBATCH],
        nets.value(theta, s)[8:][MINIBATCH],
        (gae + v)[MINIBATCH],
        was.divergence(policy)[8:][MINIBATCH],
        0.2,
        0.1,
    )
    assert float(got) == pytest.approx(float((1 - weight) * evolved + weight * ppo), rel=1e-5)
    assert float(ppo) != pytest.approx(float(evolved), rel=1e-2)
