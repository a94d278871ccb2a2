"""The objective as a loss: the same gradient as in training, for policies of any kind."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import metagenrl
from metagenrl.learner.hyperparams import AgentConfig, ObjectiveConfig
from metagenrl.learner.networks.agent_networks import (
    AgentNetworks,
    apply_critic,
    apply_policy,
    initial_parameters,
)
from metagenrl.learner.objective.inputs import inputs_on
from metagenrl.learner.objective.net import ObjectiveNet, apply
from metagenrl.learner.policy_update import Learned
from metagenrl.learner.policy_value import PlainEvaluation, PolicyEvaluation
from metagenrl.runs.config.presets import PRESETS

GOLDEN = Path(__file__).parents[1] / "golden/v0.1/cohort"
VARIANTS = [
    ObjectiveConfig(),
    PRESETS["small"].train.objective,
    ObjectiveConfig(use_advantage=True, use_critic_direction=True, use_observation=True),
]


def minibatch(dtype: torch.dtype = torch.float32) -> metagenrl.Batch:
    generator = torch.Generator().manual_seed(1)
    mask = (torch.arange(6) < torch.tensor([[6], [4], [6], [1]])).float()
    return metagenrl.Batch(
        torch.randn(4, 7, 3, generator=generator),
        torch.rand(4, 6, 2, generator=generator) * 2 - 1,
        torch.randn(4, 6, generator=generator) * mask,
        torch.zeros(4, 6),
        mask,
    ).to(dtype)


class OwnNetworks:
    """Our own networks behind the protocol."""

    def __init__(self) -> None:
        config = AgentConfig(hidden_units=16, action_penalty=0.05)
        self.nets = AgentNetworks.of(config, 3, 2)
        generator = torch.Generator().manual_seed(2)
        self.phi = initial_parameters(self.nets.policy, 1, generator).requires_grad_()
        self.theta = initial_parameters(self.nets.critic, 2, generator)

    def policy(self, s: Tensor) -> Tensor:
        return apply_policy(self.nets.policy, self.nets.policy.layout.views(self.phi), s)

    def critic(self, s: Tensor, a: Tensor) -> Tensor:
        views = self.nets.critic.layout.views(self.theta)
        return apply_critic(self.nets.critic, views, s, a)[0]


@pytest.mark.parametrize("config", VARIANTS)
def test_the_policy_gets_the_gradient_of_training(config: ObjectiveConfig) -> None:
    own, batch = OwnNetworks(), minibatch()
    objective = metagenrl.random_objective(3, config)
    objective.loss(batch, own.policy, own.critic).backward()
    with torch.no_grad():
        nets, phi = own.nets, own.nets.policy.layout.views(own.phi.detach().clone())
        evaluation = PolicyEvaluation(nets, phi, nets.critic.layout.views(own.theta), batch)
        value = Learned(ObjectiveNet(config), objective.alpha)(evaluation)
        expected = torch.zeros_like(own.phi)
        views = nets.policy.layout.views(expected)
        evaluation.policy_gradient(value.action_gradient, views, 0.05)
        expected /= batch.mask.sum()
    assert own.phi.grad is not None
    torch.testing.assert_close(own.phi.grad, expected, rtol=1e-3, atol=1e-5)
    found = objective.action_gradient(batch, own.policy, own.critic)
    torch.testing.assert_close(found, value.action_gradient, rtol=1e-3, atol=1e-5)
    found = objective.step_losses(batch, own.policy, own.critic)
    torch.testing.assert_close(found, value.loss, rtol=1e-4, atol=1e-6)


def test_the_derivative_is_that_of_the_definition() -> None:
    own, batch, config = OwnNetworks(), minibatch(), VARIANTS[1]
    objective = metagenrl.random_objective(3, config)
    loss = objective.loss(batch, own.policy, own.critic, action_penalty=0.0)
    (found,) = torch.autograd.grad(loss, own.phi)
    views = own.nets.policy.layout.views(own.phi), own.nets.critic.layout.views(own.theta)
    inputs = inputs_on(config, PlainEvaluation(own.nets, *views, batch))
    pi = own.policy(batch.observations[:, :-1])
    defined = apply(ObjectiveNet(config), objective.alpha, pi, inputs).sum() / batch.mask.sum()
    (expected,) = torch.autograd.grad(defined, own.phi)
    torch.testing.assert_close(loss, defined)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_a_resampled_objective_is_shown_actions_around_the_policy() -> None:
    own, batch = OwnNetworks(), minibatch()
    taken = ObjectiveConfig(use_advantage=True, use_next_value=False)
    objective = metagenrl.random_objective(3, dataclasses.replace(taken, resample_noise=0.3))
    torch.manual_seed(5)
    found = objective.action_gradient(batch, own.policy, own.critic)
    torch.manual_seed(5)
    with torch.no_grad():
        pi = own.policy(batch.observations[:, :-1])
        actions = (pi + 0.3 * torch.randn_like(pi)).clamp(-1, 1) * batch.mask[..., None]
    around = dataclasses.replace(batch, actions=actions)
    plain = dataclasses.replace(objective, config=taken)
    expected = plain.action_gradient(around, own.policy, own.critic)
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, plain.action_gradient(batch, own.policy, own.critic))


def test_modules_in_float64_and_a_last_dimension_of_one() -> None:
    layer, head = nn.Linear(3, 2).double(), nn.Linear(5, 1).double()
    objective = metagenrl.load_objective(GOLDEN, version="last")
    loss = objective.loss(
        minibatch(torch.float64),
        lambda s: layer(s).tanh(),
        lambda s, a: head(torch.cat([s, a], -1)),
    )
    loss.backward()  # type: ignore[no-untyped-call]
    assert layer.weight.grad is not None
    assert layer.weight.grad.abs().sum() > 0
    assert head.weight.grad is None
    assert objective.environments


def test_wrong_shapes_are_told_in_one_line() -> None:
    own, batch = OwnNetworks(), minibatch()
    objective = metagenrl.random_objective()
    with pytest.raises(ValueError, match=r"policy's actions: got \(4, 6, 1\), allowed"):
        objective.loss(batch, lambda s: own.policy(s)[..., :1], own.critic)
    with pytest.raises(ValueError, match=r"critic's values: got \(2, 4, 7\), allowed"):
        objective.loss(batch, own.policy, lambda s, a: torch.stack([own.critic(s, a)] * 2))
    short = dataclasses.replace(batch, rewards=batch.rewards[:, 1:])
    with pytest.raises(ValueError, match=r"rewards: got \(4, 5\), allowed"):
        objective.loss(short, own.policy, own.critic)


def test_a_loss_of_another_kind_is_refused() -> None:
    with pytest.raises(metagenrl.UsageError, match="objective: got") as error:
        metagenrl.load_objective(GOLDEN.parent / "epg", version="last")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("config", VARIANTS)
def test_inference_mode_gives_the_same_derivative(config: ObjectiveConfig) -> None:
    own, objective = OwnNetworks(), metagenrl.random_objective(3, config)
    wanted = objective.action_gradient(minibatch(), own.policy, own.critic)
    with torch.inference_mode():
        found = objective.action_gradient(minibatch(), own.policy, own.critic)
    torch.testing.assert_close(found.clone(), wanted)


@pytest.mark.parametrize("config", [*VARIANTS, ObjectiveConfig(use_advantage=True)])
@pytest.mark.parametrize("what", ["batch", "mask", "policy", "alpha"])
def test_how_tensors_lie_in_memory_changes_nothing(config: ObjectiveConfig, what: str) -> None:
    """Time-major ones, a mask that is one number for all, every second number of a vector."""

    def time_major(x: Tensor) -> Tensor:
        return x.transpose(0, 1).contiguous().transpose(0, 1)

    own, batch = OwnNetworks(), minibatch()
    plain = metagenrl.random_objective(3, config)
    policy, other, objective = own.policy, batch, plain
    if what == "mask":
        batch = dataclasses.replace(batch, mask=torch.ones(4, 6))
        other = dataclasses.replace(batch, mask=torch.ones(1, 1).expand(4, 6))
    elif what == "batch":
        other = metagenrl.Batch(*map(time_major, vars(batch).values()))
    elif what == "alpha":
        strided = torch.stack([plain.alpha, torch.randn_like(plain.alpha)], 1)[:, 0]
        objective = metagenrl.Objective(config, strided)
    else:
        policy = lambda s: time_major(own.policy(s))  # noqa: E731
    for derived in ("action_gradient", "step_losses"):
        wanted = getattr(plain, derived)(batch, own.policy, own.critic)
        found = getattr(objective, derived)(other, policy, own.critic)
        assert found.norm() > 0
        torch.testing.assert_close(found, wanted)
