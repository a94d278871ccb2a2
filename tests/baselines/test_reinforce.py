"""On-policy REINFORCE: its update by autograd's own, its state, and that it learns."""

import numpy as np
import pytest
import torch
from torch import nn

from metagenrl.baselines.reinforce import ReinforceAgent, ReinforceConfig
from metagenrl.learner.hyperparams import AgentConfig
from metagenrl.runs.config.baselines import OnPolicyConfig


def _agent(env, seed=0, rollout=20, **changes):
    agent = AgentConfig(**{"hidden_units": 6, "gamma": 0.9, "gae_lambda": 0.8} | changes)
    return ReinforceAgent(ReinforceConfig(env, seed, agent, OnPolicyConfig(rollout, 3)))


def _run(agent, steps):
    return [agent.step() for _ in range(steps)]


def _plain(agent, states):
    """The policy's mean by torch.nn, `[N, O] -> [N, A]`."""
    views = {k: v[0] for k, v in agent.policy_layout.views(agent.policy).items()}
    x = states
    for i in range(agent.config.agent.hidden_layers):
        x = torch.relu(x @ views[f"w{i}"] + views[f"b{i}"])
        x = nn.functional.layer_norm(x, x.shape[-1:], views[f"gamma{i}"], views[f"beta{i}"])
    return torch.tanh(x @ views["w_out"] + views["b_out"])


def test_the_loss_is_minus_log_likelihood_times_advantage(walk):
    agent = _agent(walk)
    _run(agent, 19)
    batch = agent.buffer.segments()
    advantage = torch.randn(batch.rewards.shape)
    valid = batch.mask.bool()
    std = agent.policy_layout.views(agent.policy)["log_std"][0].exp()
    mean = _plain(agent, batch.observations[valid])
    log_prob = torch.distributions.Normal(mean, std).log_prob(batch.actions[valid]).sum(-1)
    expected = -(log_prob * advantage[valid]).mean()
    torch.testing.assert_close(agent.policy_loss(agent.policy, batch, advantage), expected)


def test_the_critic_fits_what_gae_gives_it(walk):
    """gamma = 0: V's target is the scaled reward, a function of the state up to the noise."""
    agent = _agent(walk, rollout=300, gamma=0.0, critic_learning_rate=0.02)
    _run(agent, 299)
    batch = agent.buffer.segments()
    valid = batch.mask.bool()

    def error():
        v, _ = agent._values(agent.value, batch)
        return (v - batch.rewards)[valid].square().mean().item()

    before = error()
    for _ in range(20):
        agent._update(batch)
    assert error() < 0.7 * min(before, batch.rewards[valid].var().item())


def test_updates_come_with_full_rollouts_only(walk):
    agent = _agent(walk)
    start = agent.policy.clone()
    _run(agent, 19)
    assert torch.equal(agent.policy, start)
    _run(agent, 1)
    assert not torch.equal(agent.policy, start)
    assert agent.buffer.size == 0
    assert agent.value_adam.t == 3
    assert agent.policy_adam.t == 1


@pytest.mark.parametrize("steps", [20, 33])
def test_a_restored_agent_goes_on_bit_for_bit(walk, steps):
    first, second = _agent(walk), _agent(walk, seed=8)
    _run(first, steps)
    _run(second, 7)
    second.load_state_dict(first.state_dict())
    assert _run(first, 50) == _run(second, 50)
    assert torch.equal(first.policy, second.policy)
    assert torch.equal(first.value, second.value)


def test_evaluation_disturbs_nothing_and_repeats_itself(walk):
    first, second = _agent(walk), _agent(walk)
    assert first.evaluate(3) == first.evaluate(3, walk)
    assert _run(first, 45) == _run(second, 45)


@pytest.mark.slow
def test_it_learns_to_balance():
    """InvertedPendulum, 12 K steps: 3 of 4 seeds above 40; untrained policies have about 10."""
    finals = []
    for seed in range(4):
        agent = _agent(
            "InvertedPendulum-v5", seed, rollout=500, hidden_units=32, gamma=0.99,
            gae_lambda=0.97, policy_learning_rate=1e-2, critic_learning_rate=3e-3,
        )  # fmt: skip
        best = 0.0
        for _ in range(4):
            _run(agent, 3_000)
            best = max(best, np.mean([e.undiscounted_return for e in agent.evaluate(5)]))
        finals.append(best)
    assert sum(final > 40 for final in finals) >= 3, finals
