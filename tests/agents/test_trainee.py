"""An agent under a fixed objective: when it updates, evaluation, state, and that TD3 learns."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from metagenrl.agents.environment.environment import Environment
from metagenrl.agents.trainee import Trainee, TraineeConfig
from metagenrl.learner.hyperparams import AgentConfig, ObjectiveConfig
from metagenrl.learner.native import policy_updates
from metagenrl.learner.objective.net import ObjectiveNet, initial_alpha
from metagenrl.learner.policy_update import (
    CriticObjective,
    Learned,
    Reinforce,
    ReinforceByCritic,
)

TINY = AgentConfig(
    hidden_units=6, segment_length=5, batch_size=4, random_steps=10, learning_starts=12,
    replay_capacity=60,
)  # fmt: skip


def _learned(**variant):
    config = ObjectiveConfig(lstm_units=4, hidden_units=4, input_features=3, **variant)
    alpha = initial_alpha(config, torch.Generator().manual_seed(0))
    return Learned(ObjectiveNet(config), alpha)


OBJECTIVES = {
    "learned": _learned,
    "critic": CriticObjective,
    "reinforce": lambda: Reinforce(0.99, 0.97),
    "reinforce by critic": ReinforceByCritic,
    "reinforce by critic, resampled": lambda: ReinforceByCritic(0.2),
    "advantage": lambda: _learned(use_advantage=True),
    "advantage, resampled": lambda: _learned(use_advantage=True, resample_noise=0.2),
}


@pytest.fixture
def make_trainee(walk):
    def make(objective=None, seed=0, **fields):
        config = TraineeConfig(walk, seed, replace(TINY, **fields))
        return Trainee(config, objective or CriticObjective())

    return make


def _parameters(trainee):
    ac = trainee.backend.agents[0]
    return torch.cat([x.flatten() for x in (ac.phi, ac.theta, ac.phi_target, ac.theta_target)])


def _run(trainee, steps):
    return [trainee.step() for _ in range(steps)]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_same_seed_gives_the_same_agent_bit_for_bit(make_trainee, name):
    first, second = (make_trainee(OBJECTIVES[name]()) for _ in range(2))
    assert _run(first, 40) == _run(second, 40)
    assert torch.equal(_parameters(first), _parameters(second))
    assert first.evaluate(2) == second.evaluate(2)
    other = make_trainee(OBJECTIVES[name](), seed=1)
    assert _run(other, 40) != _run(make_trainee(OBJECTIVES[name]()), 40)


def test_each_objective_trains_the_policy_its_own_way(make_trainee):
    """The first policy update, at step 12, is the first thing that differs."""
    trainees = [make_trainee(make()) for make in OBJECTIVES.values()]
    for trainee in trainees:
        _run(trainee, 12)
    phis = [trainee.backend.agents[0].phi for trainee in trainees]
    thetas = [trainee.backend.agents[0].theta for trainee in trainees]
    assert torch.equal(thetas[0], thetas[1])
    assert torch.equal(thetas[0], thetas[2])
    assert len({phi.numpy().tobytes() for phi in phis}) == len(phis)


def test_critic_updates_every_step_and_policy_every_second(make_trainee):
    trainee = make_trainee()
    counts = []
    for _ in range(16):
        trainee.step()
        ac = trainee.backend.agents[0]
        counts.append((ac.theta_adam.t, ac.phi_adam.t))
    assert counts[10] == (0, 0)
    assert counts[11:] == [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)]
    assert trainee.steps == 16


def test_targets_follow_at_each_policy_update(make_trainee):
    trainee = make_trainee(polyak=0.25)
    ac = trainee.backend.agents[0]
    born = ac.phi.clone(), ac.theta.clone()
    _run(trainee, 12)
    torch.testing.assert_close(ac.phi_target, 0.75 * born[0] + 0.25 * ac.phi)
    torch.testing.assert_close(ac.theta_target, 0.75 * born[1] + 0.25 * ac.theta)
    assert not torch.equal(ac.phi, born[0])


def test_learning_waits_for_a_whole_minibatch(make_trainee):
    trainee = make_trainee(learning_starts=1, batch_size=7)
    _run(trainee, 6)
    assert trainee.backend.agents[0].theta_adam.t == 0
    _run(trainee, 1)
    assert trainee.backend.agents[0].theta_adam.t == 1


def test_one_call_by_the_objective_does_what_the_steps_do(make_trainee, monkeypatch):
    one, other = (make_trainee(OBJECTIVES["learned"](), action_penalty=0.05) for _ in range(2))
    calls, original = [], policy_updates.update_policies
    monkeypatch.setattr(
        policy_updates, "update_policies", lambda *given: calls.append(1) or original(*given)
    )
    _run(one, 30)
    assert len(calls) == 10, "policy updates from step 12 on"
    monkeypatch.setattr(other.backend, "_policies", False)
    _run(other, 30)
    assert len(calls) == 10
    torch.testing.assert_close(_parameters(one), _parameters(other), rtol=1e-2, atol=1e-4)


def test_a_policys_gradient_that_is_not_finite_is_an_error(make_trainee):
    trainee = make_trainee(OBJECTIVES["learned"]())
    _run(trainee, 30)
    before = trainee.backend.agents[0].phi.clone()
    trainee.rollout.buffer._rewards[:] = float("inf")
    with pytest.raises(FloatingPointError, match="the policy's gradient"):
        _run(trainee, 2)
    assert torch.equal(trainee.backend.agents[0].phi, before)


def test_a_frozen_objective_stays_frozen(make_trainee):
    objective = _learned()
    before = objective.learned.alpha.clone()
    _run(make_trainee(objective), 40)
    assert torch.equal(objective.learned.alpha, before)


def test_evaluation_disturbs_nothing_and_repeats_itself(make_trainee):
    first, second = make_trainee(), make_trainee()
    for trainee in (first, second):
        _run(trainee, 20)
    assert first.evaluate(3) == first.evaluate(3)
    assert _run(first, 20) == _run(second, 20)
    assert torch.equal(_parameters(first), _parameters(second))


def test_evaluation_is_of_the_policy_without_noise(make_trainee, walk):
    trainee = make_trainee(exploration_noise=1.0)
    _run(trainee, 20)
    environment = Environment(walk, np.random.default_rng(
        np.random.SeedSequence(0, spawn_key=(1_000_003,))))  # fmt: skip
    environment.reset()
    while environment.observation is not None:
        environment.step(trainee.act(environment.observation))
    (episode,) = trainee.evaluate(1)
    assert episode.undiscounted_return == environment.episode_return
    assert episode.length == environment.episode_length


@pytest.mark.parametrize("steps", [5, 27])
def test_restored_trainee_goes_on_bit_for_bit(make_trainee, steps):
    first, second = make_trainee(_learned()), make_trainee(_learned(), seed=8)
    _run(first, steps)
    _run(second, 13)
    second.load_state_dict(first.state_dict())
    assert _run(first, 25) == _run(second, 25)
    assert torch.equal(_parameters(first), _parameters(second))
    assert first.steps == second.steps == steps + 25


@pytest.mark.slow
def test_td3_learns_pendulum():
    """Above -300 within 10 K steps; a policy that does nothing has about -1 200."""
    agent = AgentConfig(hidden_units=64, batch_size=32, random_steps=1000, learning_starts=200)
    trainee = Trainee(TraineeConfig("Pendulum-v1", 0, agent), CriticObjective())
    _run(trainee, 10_000)
    returns = [episode.undiscounted_return for episode in trainee.evaluate(10)]
    assert sum(returns) / len(returns) > -300
