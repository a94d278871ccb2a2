"""Attribution: known objectives have known directions, sensitivities and reach."""

import math

import pytest
import torch

from metagenrl.analysis.explain.attribution import (
    StepLoss,
    advantage_direction,
    cosine,
    critic_direction,
    in_parameters,
    influence,
    objective_direction,
    pull,
    reach,
    with_action,
    with_feature,
)
from metagenrl.learner.hyperparams import AgentConfig, ObjectiveConfig
from metagenrl.learner.networks.agent_networks import AgentNetworks, initial_parameters
from metagenrl.learner.objective.inputs import ObjectiveInputs
from metagenrl.learner.objective.net import ObjectiveNet, initial_alpha
from metagenrl.learner.objective.net import apply as apply_objective
from metagenrl.learner.policy_update import CriticObjective, Reinforce
from metagenrl.learner.policy_value import PolicyEvaluation
from metagenrl.learner.types import Batch

B, T, A, SIZE = 64, 6, 2, 3
REWARD, TIME = 0, 1


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def evaluation(generator: torch.Generator) -> PolicyEvaluation:
    nets = AgentNetworks.of(AgentConfig(hidden_units=16), SIZE, A)
    phi = nets.policy.layout.views(initial_parameters(nets.policy, 1, generator))
    theta = nets.critic.layout.views(initial_parameters(nets.critic, 2, generator))
    mask = torch.ones(B, T)
    mask[0, 3:] = 0.0
    batch = Batch(
        torch.randn(B, T + 1, SIZE, generator=generator),
        torch.rand(B, T, A, generator=generator) * 2 - 1,
        torch.randn(B, T, generator=generator) * mask,
        torch.zeros(B, T),
        mask,
    )
    with torch.no_grad():
        return PolicyEvaluation(nets, phi, theta, batch)


@pytest.fixture
def inputs(generator: torch.Generator) -> ObjectiveInputs:
    features = torch.randn(B, T, 2, generator=generator)
    features[..., TIME] = torch.linspace(0, 1, T)
    actions = torch.rand(B, T, A, generator=generator) * 2 - 1
    return ObjectiveInputs(features, actions, None, torch.ones(B, T))


@pytest.fixture
def pi(generator: torch.Generator) -> torch.Tensor:
    return torch.rand(B, T, A, generator=generator) * 2 - 1


@torch.no_grad()
def test_reinforce_goes_where_the_advantage_points(evaluation: PolicyEvaluation) -> None:
    own = objective_direction(Reinforce(0.9, 0.8)(evaluation), evaluation.batch.mask)
    advantage = advantage_direction(evaluation, 0.9, 0.8)
    assert cosine(own, advantage) == pytest.approx(1.0, abs=1e-5)
    assert abs(cosine(own, critic_direction(evaluation))) < 0.5
    same = in_parameters(evaluation, own), in_parameters(evaluation, advantage)
    assert cosine(*same) == pytest.approx(1.0, abs=1e-5)


@torch.no_grad()
def test_td3_goes_where_the_critic_points(evaluation: PolicyEvaluation) -> None:
    own = objective_direction(CriticObjective()(evaluation), evaluation.batch.mask)
    assert cosine(own, critic_direction(evaluation)) == pytest.approx(1.0, abs=1e-5)
    assert cosine(-own, critic_direction(evaluation)) == pytest.approx(-1.0, abs=1e-5)


@torch.no_grad()
def test_directions_are_zero_on_padding(evaluation: PolicyEvaluation) -> None:
    own = objective_direction(CriticObjective()(evaluation), evaluation.batch.mask)
    for direction in (own, critic_direction(evaluation), advantage_direction(evaluation, 0.9, 0.8)):
        assert float(direction[0, 3:].abs().max()) == 0.0
        assert float(direction[0, :3].abs().max()) > 0.0


def test_the_step_in_parameters_is_the_chain_rule(evaluation: PolicyEvaluation) -> None:
    """Against autograd: d/d phi of <pi_phi(s), direction>."""
    direction = torch.randn(B, T, A) * evaluation.batch.mask.unsqueeze(-1)
    layout = evaluation.nets.policy.layout
    flat = torch.cat([v.reshape(-1) for v in evaluation.phi.values()])
    with torch.no_grad():
        step = in_parameters(evaluation, direction)
        # Along its own gradient <pi, direction> grows by eps |step|^2.
        eps = 1e-3 / float(step.norm())
        moved = layout.views((flat + eps * step).view(1, -1))
        theta = {k: v.expand(2, *v.shape[1:]) for k, v in evaluation.theta1.items()}
        pi = PolicyEvaluation(evaluation.nets, moved, theta, evaluation.batch).pi
        growth = float(((pi - evaluation.pi) * direction).sum())
    assert growth == pytest.approx(eps * float(step.norm()) ** 2, rel=2e-2)


def test_a_zero_direction_has_no_cosine() -> None:
    assert math.isnan(cosine(torch.zeros(3), torch.ones(3)))
    assert cosine(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])) == pytest.approx(0.5**0.5)


def rewarded(pi: torch.Tensor, inputs: ObjectiveInputs) -> torch.Tensor:
    """l_t = |a - pi|^2 r / 2: dL/d pi = (pi - a) r, so that all derivatives are known."""
    return 0.5 * (pi - inputs.actions).square().sum(-1) * inputs.features[..., REWARD]


def test_influence_by_hand(
    pi: torch.Tensor, inputs: ObjectiveInputs, generator: torch.Generator
) -> None:
    """d/dr of the gradient is pi - a (its square over v: exact on average), d/da is -r, d/dt 0."""
    found = influence(rewarded, pi, inputs, generator, probes=400)
    reward, difference = inputs.features[..., REWARD], pi - inputs.actions
    size = (difference * reward.unsqueeze(-1)).square().sum(-1).mean().sqrt()
    by_reward = difference.square().sum(-1).mean().sqrt() * reward.std(correction=0) / size
    spread = inputs.actions.flatten(0, 1).std(0, correction=0).square().mean().sqrt()
    by_action = (A * reward.square()).mean().sqrt() * spread / size
    assert float(found.features[REWARD]) == pytest.approx(float(by_reward), rel=0.03)
    assert float(found.features[TIME]) == 0.0
    assert float(found.actions) == pytest.approx(float(by_action), rel=1e-4)


def delayed(pi: torch.Tensor, inputs: ObjectiveInputs) -> torch.Tensor:
    """Each step follows the reward two steps later, and nothing else."""
    later = torch.roll(inputs.features[..., REWARD], -2, 1) * (torch.arange(T) < T - 2)
    return pi.sum(-1) * later


def test_reach_finds_the_step_that_matters(
    pi: torch.Tensor, inputs: ObjectiveInputs, generator: torch.Generator
) -> None:
    found = reach(delayed, pi, inputs, 1, generator)
    assert found.shape == (T, 3)
    assert float(found[3, REWARD]) > 0.1
    found[3, REWARD] = 0.0
    assert float(found.abs().max()) == 0.0


def test_padding_does_not_count(pi: torch.Tensor, generator: torch.Generator) -> None:
    """Influence is a mean over valid steps: a batch with half of it padded gives the same."""
    features = torch.randn(B, T, 2, generator=generator)
    actions = torch.zeros(B, T, A)
    mask = torch.ones(B, T)
    loss: StepLoss = lambda p, i: p.sum(-1) * i.features[..., REWARD] * i.mask  # noqa: E731
    whole = influence(loss, pi, ObjectiveInputs(features, actions, None, mask), generator)
    doubled = ObjectiveInputs(
        torch.cat([features, torch.zeros_like(features)], 1),
        torch.cat([actions, actions], 1),
        None,
        torch.cat([mask, torch.zeros_like(mask)], 1),
    )
    padded = influence(loss, torch.cat([pi, pi], 1), doubled, generator, probes=4)
    assert float(padded.features[REWARD]) == pytest.approx(float(whole.features[REWARD]), rel=0.1)


def test_the_learned_objective_looks_ahead_only(
    pi: torch.Tensor, generator: torch.Generator
) -> None:
    """Its LSTM runs backwards: what came earlier in the segment is unknown to it (Figure 2)."""
    net = ObjectiveNet(ObjectiveConfig(lstm_units=8, hidden_units=8))
    alpha = initial_alpha(net.config, generator)
    features = torch.randn(B, T, 4, generator=generator)
    inputs = ObjectiveInputs(features, torch.zeros(B, T, A), None, torch.ones(B, T))

    def loss(pi: torch.Tensor, inputs: ObjectiveInputs) -> torch.Tensor:
        # Of one step only: that step's own action and those before do not reach it backwards.
        return apply_objective(net, alpha, pi, inputs)[:, 2:3]

    found = reach(loss, pi, inputs, 2, generator)
    assert float(found[:2].abs().max()) == 0.0
    assert float(found[2:, :4].min()) > 0.0


def test_pull_is_signed_and_in_units_of_the_direction() -> None:
    pi, taken = torch.zeros(2, 2), torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    direction = torch.tensor([[6.0, 8.0], [0.0, -4.0]])
    assert pull(direction, pi, taken, torch.ones(2)) == pytest.approx((10 - 4) / 2)
    assert pull(direction, pi, taken, torch.tensor([1.0, 0.0])) == pytest.approx(10)


def test_changes_touch_one_step(inputs: ObjectiveInputs) -> None:
    changed = with_action(with_feature(inputs, REWARD, 2, 9.0), 3, torch.full((B, A), 0.5))
    assert (changed.features[:, 2, REWARD] == 9.0).all()
    assert (changed.actions[:, 3] == 0.5).all()
    kept = torch.arange(T) != 2
    assert torch.equal(changed.features[:, kept], inputs.features[:, kept])
    assert torch.equal(changed.features[..., TIME], inputs.features[..., TIME])
    assert torch.equal(changed.actions[:, :3], inputs.actions[:, :3])
