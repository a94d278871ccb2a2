"""Soft actor-critic: its losses against torch.distributions, its state, and that it learns."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal, TanhTransform, TransformedDistribution

from metagenrl.baselines.sac import SacAgent
from metagenrl.learner.hyperparams import AgentConfig
from metagenrl.learner.networks.agent_networks import apply_critic
from metagenrl.runs.agent_job import ObjectiveChoice, TraineeJob
from metagenrl.runs.config.baselines import SacConfig


def _agent(env, seed=0, sac=SacConfig(), **changes):  # noqa: B008 - frozen
    fields = {"hidden_units": 6, "batch_size": 5, "segment_length": 4, "random_steps": 10,
              "learning_starts": 12, "replay_capacity": 100} | changes  # fmt: skip
    agent = AgentConfig(**fields)
    job = TraineeJob(env, seed, "sac", 100, 100, 1, "", agent, ObjectiveChoice("sac"), sac=sac)
    return SacAgent(job)


def _run(agent, steps):
    return [agent.step() for _ in range(steps)]


def _batch(agent):
    return agent.rollout.sample(agent.job.agent.batch_size).batch()


def _distribution(agent, s):
    mean, log_std = agent.distribution(agent.policy, s)
    normal = Independent(Normal(mean, log_std.exp()), 1)
    return TransformedDistribution(normal, TanhTransform())


def _critics(agent, parameters, s, a):
    return apply_critic(agent.critic_net, agent.critic_net.layout.views(parameters), s, a)


def test_samples_have_the_density_of_a_squashed_gaussian(walk):
    agent = _agent(walk)
    s = torch.randn(7, 3, 2)
    a, log_pi = agent.sample(agent.policy, s)
    expected = _distribution(agent, s).log_prob(a)
    torch.testing.assert_close(log_pi, expected, atol=1e-4, rtol=1e-4)


def test_the_target_is_soft_and_stops_at_a_terminal_state(walk):
    agent = _agent(walk, sac=SacConfig(initial_temperature=0.3), gamma=0.9)
    _run(agent, 40)
    batch, before = _batch(agent), agent.generator.get_state()
    y = agent.target(batch)
    agent.generator.set_state(before)
    s_next = batch.observations[:, 1:]
    a, log_pi = agent.sample(agent.policy, s_next)
    q = _critics(agent, agent.critics_target, s_next, a).min(0).values
    temperature = agent.log_temperature.exp()
    expected = batch.rewards + 0.9 * (1 - batch.terminated) * (q - temperature * log_pi)
    torch.testing.assert_close(y, expected)
    ended = batch.terminated.bool()
    torch.testing.assert_close(y[ended], batch.rewards[ended])


def test_both_losses_are_means_over_valid_steps(walk):
    agent = _agent(walk)
    _run(agent, 40)
    batch = _batch(agent)
    valid, s = batch.mask.bool(), batch.observations[:, :-1]
    y = torch.randn(batch.rewards.shape)
    q = _critics(agent, agent.critics, s, batch.actions)
    expected = (q[0] - y)[valid].square().mean() + (q[1] - y)[valid].square().mean()
    torch.testing.assert_close(agent.critic_loss(agent.critics, batch, y), expected)
    before = agent.generator.get_state()
    loss, log_pi = agent.policy_loss(agent.policy, batch)
    agent.generator.set_state(before)
    a, _ = agent.sample(agent.policy, s)
    soft = agent.log_temperature.exp() * log_pi - _critics(agent, agent.critics, s, a).amin(0)
    torch.testing.assert_close(loss, soft[valid].mean())


@pytest.mark.parametrize(("target", "rises"), [(0.0, True), (50.0, False)])
def test_the_temperature_moves_the_entropy_towards_its_target(walk, target, rises):
    """With less entropy than -target A a policy gets a higher temperature, with more a lower."""
    agent = _agent(walk, sac=SacConfig(target_entropy=target))
    views = agent.policy_net.layout.views(agent.policy)
    views["w_out"].zero_()
    views["b_out"][..., 1:] = -3.0  # log sigma: hardly any entropy, -1.6 nats
    _run(agent, 13)
    assert (float(agent.log_temperature) > math.log(agent.job.sac.initial_temperature)) == rises


def test_its_own_sampling_is_its_exploration(walk):
    agent = _agent(walk, random_steps=0)
    assert agent.rollout.config.exploration_noise == 0
    actions = {float(agent._explore(np.zeros(2, np.float32))[0]) for _ in range(5)}
    assert len(actions) == 5
    assert len({float(agent.act(np.zeros(2, np.float32))[0]) for _ in range(5)}) == 1


@pytest.mark.parametrize("steps", [8, 33])
def test_a_restored_agent_goes_on_bit_for_bit(walk, steps):
    first, second = _agent(walk), _agent(walk, seed=8)
    _run(first, steps)
    _run(second, 7)
    second.load_state_dict(first.state_dict())
    assert _run(first, 30) == _run(second, 30)
    assert torch.equal(first.policy, second.policy)
    assert torch.equal(first.critics_target, second.critics_target)
    assert torch.equal(first.log_temperature, second.log_temperature)


@pytest.mark.slow
def test_it_learns_pendulum():
    """An untrained policy gets about -1 400."""
    agent = _agent(
        "Pendulum-v1", hidden_units=64, batch_size=8, segment_length=20, random_steps=1_000,
        learning_starts=200, replay_capacity=10_000,
    )  # fmt: skip
    _run(agent, 4_000)
    assert np.mean([e.undiscounted_return for e in agent.evaluate(5)]) > -500
