"""TD3, the critic as objective, against plain torch.nn and torch.optim."""

import pytest
import torch
from torch import nn

from metagenrl.agents.backend.actor_critic import ActorCritic
from metagenrl.learner.hyperparams import AgentConfig
from metagenrl.learner.policy_update import CriticObjective
from metagenrl.learner.types import Batch

OBSERVATIONS, ACTIONS, B, T = 3, 2, 6, 5


@pytest.fixture
def double():
    """Everything in float64, so that equal means equal."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def _batch(seed):
    generator = torch.Generator().manual_seed(seed)
    length = torch.tensor([[T], [1], [3], [T], [T], [2]])
    mask = (torch.arange(T) < length).to(torch.get_default_dtype())
    terminated = (
        mask * (torch.arange(T) == length - 1) * torch.tensor([[0], [1], [1], [1], [0], [0]])
    )
    return Batch(
        torch.randn(B, T + 1, OBSERVATIONS, generator=generator),
        (torch.rand(B, T, ACTIONS, generator=generator) * 2 - 1) * mask[..., None],
        torch.randn(B, T, generator=generator) * mask,
        terminated.to(mask.dtype),
        mask,
    )


def _network(views, member, *end):
    """The same parameters in torch.nn's own layers."""
    layers = []
    for i in range(2):
        linear = nn.Linear(*views[f"w{i}"].shape[1:])
        linear.weight.data, linear.bias.data = views[f"w{i}"][member].mT, views[f"b{i}"][member]
        norm = nn.LayerNorm(linear.out_features)
        norm.weight.data, norm.bias.data = views[f"gamma{i}"][member], views[f"beta{i}"][member]
        layers += [linear, nn.ReLU(), norm]
    last = nn.Linear(*views["w_out"].shape[1:])
    last.weight.data, last.bias.data = views["w_out"][member].mT, views["b_out"][member]
    network = nn.Sequential(*layers, last, *end)
    for p in network.parameters():
        p.data = p.data.clone()
    return network


class PlainTD3:
    """TD3 as it is usually written, on flat lists of valid transitions."""

    def __init__(self, start):
        self.config = start.config
        views = (start.phi_views, start.theta_views)
        self.actor, self.actor_target = (_network(views[0], 0, nn.Tanh()) for _ in range(2))
        self.critics, self.critic_targets = (
            nn.ModuleList(_network(views[1], e) for e in range(2)) for _ in range(2)
        )
        self.actor_adam = torch.optim.Adam(
            self.actor.parameters(), self.config.policy_learning_rate
        )
        self.critic_adam = torch.optim.Adam(
            self.critics.parameters(), self.config.critic_learning_rate
        )

    def update_critics(self, batch, noise):
        valid = batch.mask.bool()
        s, s_next = batch.observations[:, :-1][valid], batch.observations[:, 1:][valid]
        with torch.no_grad():
            a_next = (self.actor_target(s_next) + noise[valid]).clamp(-1, 1)
            q_next = [q(torch.cat([s_next, a_next], -1)) for q in self.critic_targets]
            q_next = torch.min(*q_next).squeeze(-1)
            y = batch.rewards[valid] + self.config.gamma * (1 - batch.terminated[valid]) * q_next
        x = torch.cat([s, batch.actions[valid]], -1)
        loss = sum(nn.functional.mse_loss(q(x).squeeze(-1), y) for q in self.critics)
        self.critic_adam.zero_grad()
        loss.backward()
        self.critic_adam.step()
        return loss.item()

    def update_actor(self, batch):
        s = batch.observations[:, :-1][batch.mask.bool()]
        loss = -self.critics[0](torch.cat([s, self.actor(s)], -1)).mean()
        self.actor_adam.zero_grad()
        loss.backward()
        gradients = [p.grad for p in self.actor.parameters()]
        norm = torch.cat([g.flatten() for g in gradients]).norm().item()
        for g in gradients:
            g.mul_(min(1.0, self.config.policy_gradient_clip / norm))
        self.actor_adam.step()
        pairs = ((self.actor, self.actor_target), (self.critics, self.critic_targets))
        for network, target in pairs:
            for p, p_target in zip(network.parameters(), target.parameters(), strict=True):
                p_target.data = (
                    1 - self.config.polyak
                ) * p_target.data + self.config.polyak * p.data
        return norm


def _same_network(network, views, member):
    expected = _network(views, member)
    for p, q in zip(network.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(p.data, q.data, rtol=1e-8, atol=1e-9)


def _policy_step(agent, batch):
    with torch.no_grad():
        evaluation = agent.evaluate(batch)
        value = CriticObjective()(evaluation)
    return agent.update_policy(evaluation, value)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("clip", [1.0, 1e-3])
def test_td3_equals_an_independent_implementation(clip):
    """Three rounds of two critic updates, one policy update and one of the targets."""
    config = AgentConfig(hidden_units=8, polyak=0.1, policy_gradient_clip=clip)
    agent = ActorCritic(config, OBSERVATIONS, ACTIONS, torch.Generator().manual_seed(0))
    plain, noise = PlainTD3(agent), torch.Generator()
    noise.set_state(agent.generator.get_state())
    for seed in range(6):
        batch = _batch(seed)
        epsilon = (0.2 * torch.randn(B, T, ACTIONS, generator=noise)).clamp(-0.5, 0.5)
        loss = plain.update_critics(batch, epsilon)
        assert agent.update_critic(batch).td_loss == pytest.approx(loss, rel=1e-8)
        if seed % 2:
            norm = plain.update_actor(_batch(100 + seed))
            assert _policy_step(agent, _batch(100 + seed)) == pytest.approx(norm, rel=1e-8)
            agent.update_targets()
    _same_network(plain.actor, agent.phi_views, 0)
    _same_network(plain.actor_target, agent.phi_target_views, 0)
    for e in range(2):
        _same_network(plain.critics[e], agent.theta_views, e)
        _same_network(plain.critic_targets[e], agent.theta_target_views, e)
