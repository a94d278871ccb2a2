"""Whole updates in one C call against the same put together step by step, at the presets' sizes."""

from __future__ import annotations

import pytest
import torch
from metagenrl.learner import agent_fused, kernels, meta_gradient, mlp, objective_fused
from metagenrl.learner.adam import Adam
from metagenrl.learner.agent_fused import CriticState
from metagenrl.learner.critic_loss import td_gradient, td_target
from metagenrl.learner.evaluation import PolicyEvaluation
from metagenrl.learner.hyperparams import AgentConfig, ObjectiveConfig
from metagenrl.learner.networks import AgentNetworks, initial_parameters
from metagenrl.learner.objective_inputs import objective_inputs
from metagenrl.learner.objective_net import ObjectiveNet, initial_alpha
from metagenrl.learner.objectives import Learned
from metagenrl.learner.types import Batch
from torch import Tensor

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-11}
SIZES = [(1, 1, 1, 1), (5, 7, 3, 2), (40, 20, 17, 6)]  # B, T, O, A
NETWORKS = [
    {},
    {"twin_critics": False},
    {"hidden_units": 32, "hidden_layers": 3},
    {"hidden_units": 50, "hidden_layers": 1},
]
OBJECTIVES = [
    {},
    {"use_time": False},
    {"use_value": False},
    {"use_next_value": False, "hidden_units": 24, "lstm_units": 10},
    {"reflect_actions": True, "normalization": "td"},
    {"normalization": "joint"},
]


@pytest.fixture(autouse=True)
def _needs_library():
    if kernels.backend() == "torch":
        pytest.skip("the C kernels were not built: nothing to compare")


def _batch(
    size: tuple[int, int, int, int], dtype: torch.dtype, generator: torch.Generator
) -> Batch:
    (b, t, o, a), kind = size, {"generator": generator, "dtype": dtype}
    length = torch.randint(1, t + 1, (b, 1), generator=generator)
    mask = (torch.arange(t) < length).to(dtype)
    ends = (torch.arange(t) == length - 1).to(dtype) * (torch.arange(b) % 2)[:, None]
    return Batch(
        torch.randn(b, t + 1, o, **kind),
        torch.rand(b, t, a, **kind) * 2 - 1,
        torch.randn(b, t, **kind) * mask,
        ends.to(dtype),
        mask,
    )


class Updates:
    """An agent away from its initial zeros, two minibatches and an objective."""

    def __init__(self, size, dtype, network=None, objective=None) -> None:
        generator = torch.Generator().manual_seed(0)
        self.nets = AgentNetworks.of(
            AgentConfig(**{"hidden_units": 64, **(network or {})}), *size[2:]
        )

        def perturbed(flat: Tensor) -> Tensor:
            return (flat + 0.1 * torch.randn(flat.shape, generator=generator)).to(dtype)

        self.phi = perturbed(initial_parameters(self.nets.policy, 1, generator))
        self.theta = perturbed(initial_parameters(self.nets.critic, self.nets.critics, generator))
        self.theta_target = self.theta.clone()
        config = ObjectiveConfig(**(objective or {}))
        self.net, self.alpha = ObjectiveNet(config), perturbed(initial_alpha(config, generator))
        self.batches = [_batch(size, dtype, generator) for _ in range(2)]
        self.noise = 0.2 * torch.randn(self.batches[0].actions.shape, generator=generator).to(dtype)
        self.u = torch.randn(self.noise.shape, generator=generator).to(dtype)
        self.u *= self.batches[0].mask[..., None]

    @torch.no_grad()
    def critic(self, fused: bool = True) -> list[Tensor]:
        """Two agents' first update: what was seen, gradients and new critics."""
        batches = self.batches
        noise = torch.stack([self.noise, -self.noise])
        agents = [  # epsilon = 1: the first step is not the gradient's sign alone
            CriticState(
                sign * self.phi, sign * self.theta_target, torch.zeros_like(self.theta),
                Adam(sign * self.theta, 0.1, epsilon=1.0),
            )
            for sign in (1, -1)
        ]  # fmt: skip
        if fused:
            seen = agent_fused.update_critics(self.nets, agents, batches, noise, 0.9)
        else:
            each = zip(agents, batches, noise, strict=True)
            seen = torch.stack([torch.stack(self._critic(*one)) for one in each])
        return [*seen.unbind(), *(x for a in agents for x in (a.gradient, a.adam.parameters))]

    def _critic(self, agent: CriticState, batch: Batch, noise: Tensor) -> tuple[Tensor, Tensor]:
        policy, critic = self.nets.policy.layout.views, self.nets.critic.layout.views
        targets = policy(agent.phi_target), critic(agent.theta_target)
        y = td_target(self.nets, *targets, batch, noise, 0.9)
        theta, gradient = critic(agent.adam.parameters), critic(agent.gradient)
        seen = td_gradient(self.nets, theta, batch, y, gradient)
        agent.adam.step(agent.gradient)
        return seen

    @torch.no_grad()
    def actions(self, fused: bool = True) -> list[Tensor]:
        """Of two policies, for an observation each."""
        policies, s = [self.phi, 2 * self.phi], self.batches[0].observations[0, :2]
        if fused:
            return [*agent_fused.act(self.nets, policies, s)]
        each = zip(policies, s, strict=True)
        views = self.nets.policy.layout.views
        return [
            mlp.evaluate(self.nets.policy, views(phi), row.view(1, 1, -1)).tanh().view(-1)
            for phi, row in each
        ]

    def evaluation(self) -> PolicyEvaluation:
        phi, theta = (
            self.nets.policy.layout.views(self.phi),
            self.nets.critic.layout.views(self.theta),
        )
        return PolicyEvaluation(self.nets, phi, theta, self.batches[0])

    @torch.no_grad()
    def policy(self) -> list[Tensor]:
        e = self.evaluation()
        theta = self.nets.critic.layout.views(self.theta)
        value = meta_gradient.value_gradient(self.nets, self.phi, theta, self.batches)
        tangent = e.policy_tangent(self.nets.policy.layout.views(self.phi))
        known = [e.pi.clone(), e.v, e.v_next, e.action_value_gradient]
        plain, penalized = torch.zeros_like(self.phi), torch.zeros_like(self.phi)
        e.pi[0] = 1.0  # beyond the range that the penalty leaves free
        for gradient, penalty in ((plain, 0.0), (penalized, 0.3)):
            e.policy_gradient(self.u, self.nets.policy.layout.views(gradient), penalty)
        return [*known, tangent, plain, penalized, *value]

    @torch.no_grad()
    def objective(self) -> list[Tensor]:
        evaluation = self.evaluation()
        config = self.net.config
        values = (evaluation.v, evaluation.v_next) if config.use_value else (None, None)
        features = objective_inputs(config, evaluation.batch, *values).features
        learned = Learned(self.net, self.alpha)
        value = learned(evaluation)
        assert value.tape is not None
        gradient = learned.learned.alpha_gradient(value.tape, self.u)
        return [features, value.loss, value.action_gradient, gradient]


def _step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_LIBRARY", None)


def _compare(got: list[Tensor], want: list[Tensor], dtype: torch.dtype) -> None:
    for a, b in zip(got, want, strict=True):
        assert torch.isfinite(b).all()
        error = (a - b).abs().max() / b.abs().max().clamp(min=1e-3)
        assert error.item() < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_an_agents_updates(size, dtype, network, monkeypatch):
    updates = Updates(size, dtype, network)
    with torch.no_grad():
        assert agent_fused.takes(updates.nets, updates.nets.policy.layout.views(updates.phi))
    got = updates.critic() + updates.actions() + updates.policy()
    _step_by_step(monkeypatch)
    want = updates.critic(fused=False) + updates.actions(fused=False) + updates.policy()
    _compare(got, want, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_the_objectives_derivatives(size, dtype, objective, monkeypatch):
    updates = Updates(size, dtype, objective=objective)
    with torch.no_grad():
        assert objective_fused.takes(updates.net, updates.alpha)
    got = updates.objective()
    _step_by_step(monkeypatch)
    _compare(got, updates.objective(), dtype)


@pytest.mark.parametrize("variant", [{"bidirectional": True}, {"use_observation": True}], ids=str)
def test_variants_without_a_kernel_of_their_own(variant):
    updates = Updates((5, 7, 3, 2), torch.float64, objective=variant)
    with torch.no_grad():
        assert not objective_fused.takes(updates.net, updates.alpha)


@pytest.mark.parametrize(
    "size", [(1, 1, 1, 1), (3, 1, 2, 9), (2, 33, 30, 1), (40, 20, 17, 6)], ids=str
)
@pytest.mark.parametrize("network", [{}, {"hidden_units": 5, "hidden_layers": 1}], ids=str)
@pytest.mark.parametrize(
    "objective", [{}, {"hidden_units": 4, "lstm_units": 9, "input_features": 13}], ids=str
)
def test_scratch_is_long_enough(size, network, objective, monkeypatch):
    """Nothing is written behind what a kernel said that it needs."""
    guards, margin, allocate = [], 4096, kernels.scratch

    def guarded(like, room, sizes, parts=1):
        found = []
        for part in allocate(like, room, sizes, parts):
            longer = like.new_full((len(part) + margin,), 7.0)
            guards.append(longer[-margin:])
            found.append(longer[:-margin])
        return found

    monkeypatch.setattr(kernels, "scratch", guarded)
    updates = Updates(size, torch.float64, network, objective)
    for compute in (updates.critic, updates.actions, updates.policy, updates.objective):
        compute()
    assert guards
    assert all((guard == 7.0).all() for guard in guards)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_not_a_number_is_not_hidden(dtype):
    """Neither ReLU nor a minimum nor a clip makes a number of it."""
    updates = Updates((5, 7, 3, 2), dtype)
    updates.phi[:] = float("nan")
    seen, _, gradient, theta = updates.critic()[:4]
    assert seen[0].isnan()
    assert gradient.isnan().any()
    assert theta.isnan().any()
    assert all(action.isnan().all() for action in updates.actions())
    assert all(x.isnan().any() for x in updates.policy()[:3])
    updates = Updates((5, 7, 3, 2), dtype)
    updates.theta_target[1] = float("nan")  # the minimum is over both critics
    loss, q = updates.critic()[0]
    assert loss.isnan()
    assert q.isfinite()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@torch.no_grad()
def test_adam(dtype, monkeypatch):
    """Some steps of both, from the same gradients."""
    generator = torch.Generator().manual_seed(0)
    gradients = [torch.randn(2, 37, generator=generator).to(dtype) for _ in range(5)]

    def steps() -> list[Tensor]:
        adam = Adam(torch.ones(2, 37, dtype=dtype), 0.1)
        for gradient in gradients:
            adam.step(gradient)
        return [adam.parameters, adam.m, adam.v]

    got = steps()
    _step_by_step(monkeypatch)
    _compare(got, steps(), dtype)
