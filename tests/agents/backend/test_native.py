"""Small networks in C against the reference, for every variant of the method."""

import numpy as np
import pytest
import torch
from fixtures.problems import VARIANTS

from metagenrl.agents.backend.actor_critic import ActorCritic
from metagenrl.agents.backend.interface import PolicyDraw, Setting
from metagenrl.agents.backend.native import Native
from metagenrl.agents.backend.reference import Reference
from metagenrl.agents.experience.replay import ReplayBuffer
from metagenrl.learner.hyperparams import AgentConfig, MetaConfig, ObjectiveConfig
from metagenrl.learner.native import forms
from metagenrl.learner.objective.net import ObjectiveNet, first_alpha
from metagenrl.learner.policy_update import Learned
from metagenrl.learner.resampling import resampling_noise

AGENT = AgentConfig(hidden_units=16, batch_size=6, segment_length=5, action_penalty=0.05)
SIZES = (4, 2)
TWO_STEPS = MetaConfig(inner_steps=2, inner_step_size=1e-4)
"""Short ones: through long ones rounding grows, by the processor, to a thousandth."""
RESAMPLED = {"use_advantage": True, "use_next_value": False, "resample_noise": 0.2}

pytestmark = pytest.mark.skipif(not forms.agents(AGENT), reason="the library was not built")


@pytest.fixture(scope="module")
def buffer() -> ReplayBuffer:
    rng, buffer = np.random.default_rng(0), ReplayBuffer(100, *SIZES)
    for step in range(60):
        s = rng.standard_normal(4)
        buffer.add(s, np.tanh(rng.standard_normal(2)), rng.standard_normal(), s + 0.1,
                   step % 9 == 8, False)  # fmt: skip
    return buffer


@pytest.mark.parametrize("p", [1.0, 0.4])
@pytest.mark.parametrize(
    "meta",
    [MetaConfig(), TWO_STEPS, MetaConfig(outer_loss="action_regression"), None],
    ids=["value", "two inner steps", "regression", "fixed"],
)
@pytest.mark.parametrize("variant", [*VARIANTS, RESAMPLED], ids=str)
def test_policy_updates_are_the_references(buffer, variant, meta, p):
    config = ObjectiveConfig(lstm_units=5, hidden_units=6, input_features=3, **variant)
    net, alpha = ObjectiveNet(config), first_alpha(config, 0).numpy()
    networks = ActorCritic(AGENT, *SIZES, torch.Generator().manual_seed(1)).networks_state()
    setting = Setting(AGENT, SIZES, Learned(net, torch.zeros(net.layout.size)), meta)
    rng = np.random.default_rng(3)
    drawn = buffer.minibatch(rng, setting.minibatches * AGENT.batch_size, AGENT.segment_length)
    shape = (setting.inner_steps * AGENT.batch_size, AGENT.segment_length, SIZES[1])
    noise = resampling_noise(config.resample_noise, shape, torch.Generator().manual_seed(3))
    found = []
    for backend in (Native, Reference):
        computes = backend(setting)
        computes.load(0, networks)
        step = computes.update_policies(alpha, {0: PolicyDraw(drawn, p, noise=noise)})[0]
        moments = computes.networks(0)["phi_adam"]["m"]
        found.append([step.gradient, step.loss, step.policy_norm, step.value_after, moments])
    for got, want in zip(*found, strict=True):
        apart = np.linalg.norm(np.subtract(got, want)) / (np.linalg.norm(want) + 1e-6)
        assert apart < 1e-3 or np.isnan(want).all()


def test_an_observation_of_another_size_is_refused() -> None:
    backend = Native(Setting(AGENT, SIZES, None, None))
    backend.load(0, ActorCritic(AGENT, *SIZES, torch.Generator().manual_seed(1)).networks_state())
    with pytest.raises(ValueError, match=r"observations: got \(1, 3\), allowed: shape \(1, 4\)"):
        backend.act({0: np.zeros(3, np.float32)})
