"""Defaults are the paper's tables; bad values are refused by name."""

import math

import pytest

from metagenrl.base.checks import require
from metagenrl.learner.hyperparams import AgentConfig, MetaConfig, ObjectiveConfig


def test_defaults_are_the_papers_tables():
    agent, meta, objective = AgentConfig(), MetaConfig(), ObjectiveConfig()
    assert (agent.hidden_units, agent.hidden_layers) == (350, 2)
    assert (agent.segment_length, agent.batch_size) == (20, 100)
    assert (agent.gamma, agent.gae_lambda, agent.polyak) == (0.99, 0.97, 0.005)
    assert agent.policy_learning_rate == agent.critic_learning_rate == meta.learning_rate == 1e-3
    assert (agent.policy_gradient_clip, meta.gradient_clip) == (1.0, 1.0)
    assert (agent.target_noise, agent.target_noise_clip) == (0.2, 0.5)
    assert (agent.random_steps, agent.exploration_noise) == (10_000, 0.1)
    assert (agent.replay_capacity, agent.policy_delay) == (1_000_000, 2)
    assert (meta.inner_steps, meta.inner_step_size, meta.inner_reduction) == (1, 1e-3, "sum")
    assert (meta.gradient_scaling, meta.anneal_steps, meta.lifetime) == ("clip", 10_000, 0)
    assert (objective.lstm_units, objective.hidden_units, objective.eta) == (32, 32, 1000.0)


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        (AgentConfig, "hidden_units", 0),
        (AgentConfig, "segment_length", 0),
        (AgentConfig, "batch_size", -1),
        (AgentConfig, "policy_delay", 0),
        (AgentConfig, "gamma", 1.01),
        (AgentConfig, "polyak", -0.1),
        (AgentConfig, "target_noise", -0.1),
        (AgentConfig, "policy_learning_rate", 0.0),
        (AgentConfig, "critic_learning_rate", math.nan),
        (AgentConfig, "replay_capacity", 20),  # not more than a segment
        (MetaConfig, "inner_steps", 0),
        (MetaConfig, "inner_step_size", 0.0),
        (MetaConfig, "lifetime", -1),
        (MetaConfig, "inner_reduction", "max"),
        (MetaConfig, "gradient_scaling", "none"),
        (MetaConfig, "learning_rate_decay", "linear"),
        (ObjectiveConfig, "eta", 0.0),
        (ObjectiveConfig, "lstm_units", 0),
        (ObjectiveConfig, "hidden_units", 31),  # half of the units square
        (ObjectiveConfig, "normalization", "none"),
        (ObjectiveConfig, "td_discount", 1.5),
    ],
)
def test_bad_values_are_refused_in_one_line_that_names_them(config, field, value):
    with pytest.raises(ValueError, match=f"^{field}: got {value!r}, allowed: .+$") as caught:
        config(**{field: value})
    assert "\n" not in str(caught.value)


def test_bounds_themselves_are_allowed():
    agent = AgentConfig(gamma=1.0, polyak=0.0, random_steps=0, exploration_noise=0.0)
    assert (agent.gamma, agent.polyak, agent.random_steps) == (1.0, 0.0, 0)
    assert AgentConfig(replay_capacity=21).replay_capacity == 21


def test_require_says_what_is_allowed():
    require(True, "field", 1, "anything")
    with pytest.raises(ValueError, match=r"^field: got 'x', allowed: a, b$"):
        require(False, "field", "x", "a, b")
