"""Whole updates in one C call against the same put together step by step, at the presets' sizes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from metagenrl.learner import meta_gradient, ops
from metagenrl.learner.adam import Adam, clip_by_norm, scale_to_norm
from metagenrl.learner.critic import td_gradient, td_target
from metagenrl.learner.hyperparams import AgentConfig, MetaConfig, ObjectiveConfig
from metagenrl.learner.native import forms, library
from metagenrl.learner.native import updates as agent_fused
from metagenrl.learner.native.policy_updates import Found, PolicyState, update_policies
from metagenrl.learner.native.updates import CriticState
from metagenrl.learner.networks import mlp
from metagenrl.learner.networks.agent_networks import AgentNetworks, initial_parameters
from metagenrl.learner.objective.net import ObjectiveNet, initial_alpha
from metagenrl.learner.policy_update import Learned, anneal
from metagenrl.learner.policy_value import PolicyEvaluation
from metagenrl.learner.resampling import shown
from metagenrl.learner.types import Batch

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-11}
SIZES = [(1, 1, 1, 1), (5, 7, 3, 2), (40, 20, 17, 6)]  # B, T, O, A
WEIGHTS = (1.0, 0.3)  # of the objective in the policy's loss, for each of two agents
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
    {"use_advantage": True, "use_next_value": False},
    {"use_critic_direction": True, "reflect_actions": True},
]


@pytest.fixture(autouse=True)
def _needs_library():
    if library.backend() == "torch":
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
        y = td_target(self.nets, *targets, batch.alone, noise[None], 0.9)
        theta, gradient = critic(agent.adam.parameters), critic(agent.gradient)
        loss, q = td_gradient(self.nets, theta, batch.alone, y, gradient)
        agent.adam.step(agent.gradient)
        return loss[0], q[0]

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
        return ops.evaluate(self.nets, phi, theta, self.batches[0])

    @torch.no_grad()
    def policy(self) -> list[Tensor]:
        e = self.evaluation()
        value = e.value_gradient(self.phi, self.batches[1:])
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
        learned = Learned(self.net, self.alpha)
        features = learned.learned.inputs(evaluation).features
        value = learned(evaluation)
        assert value.tape is not None
        gradient = learned.learned.alpha_gradient(value.tape, self.u)
        return [features, value.loss, value.action_gradient, gradient]

    @torch.no_grad()
    def whole(
        self, agent: AgentConfig, meta: MetaConfig | None, fused: bool = True
    ) -> list[Tensor]:
        """Two agents' policy updates and meta-gradients, with everything they wrote to."""
        states = [
            PolicyState(
                torch.zeros_like(self.phi), Adam(sign * self.phi, 0.1, epsilon=1.0),
                0.5 * self.phi, self.theta_target.clone(), sign * self.theta,
            )
            for sign in (1, -1)
        ]  # fmt: skip
        batches = [self.batches, self.batches[::-1]]
        std = self.net.config.resample_noise
        noise = [sign * std * self.u if std else None for sign in (1, -1)]
        if fused:
            found = update_policies(
                self.nets, self.net, self.alpha, agent, meta, states, batches, noise, WEIGHTS
            )
        else:
            each = zip(states, batches, noise, WEIGHTS, strict=True)
            found = [self._whole(agent, meta, *one) for one in each]
        numbers = torch.tensor([step[1:] for step in found], dtype=self.phi.dtype)
        written = [
            x
            for s in states
            for x in (s.gradient, s.adam.parameters, s.adam.m, s.phi_target, s.theta_target)
        ]
        return [*numbers.T, *(step.gradient for step in found), *written]

    def _whole(
        self,
        agent: AgentConfig,
        meta: MetaConfig,
        state: PolicyState,
        batches: list[Batch],
        noise: Tensor | None,
        weight: float,
    ) -> Found:
        policy, theta = (
            self.nets.policy.layout.views,
            self.nets.critic.layout.views(state.theta),
        )
        phi, gradient = state.adam.parameters, policy(state.gradient)
        evaluation = ops.evaluate(self.nets, policy(phi), theta, batches[0])
        if noise is not None:
            evaluation.batch = shown(batches[0], evaluation.pi, noise)
        learned = Learned(self.net, self.alpha)
        value = learned(evaluation)
        evaluation.policy_gradient(value.action_gradient, gradient)
        g, j = meta_gradient.meta_gradient(
            meta, learned, value, evaluation, phi, state.gradient, batches[1:]
        )
        scale = scale_to_norm if meta.gradient_scaling == "normalize" else clip_by_norm
        norm, valid = scale(g, meta.gradient_clip), batches[0].mask.sum().clamp(min=1)
        annealed = anneal(weight, value, evaluation)
        evaluation.policy_gradient(annealed.action_gradient, gradient, agent.action_penalty)
        state.gradient.div_(valid)
        policy_norm = clip_by_norm(state.gradient, agent.policy_gradient_clip)
        state.adam.step(state.gradient)
        state.phi_target.lerp_(phi, agent.polyak)
        state.theta_target.lerp_(state.theta, agent.polyak)
        return Found(g, norm, float(value.loss.sum() / valid), policy_norm, float(j))


def _step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "_LIBRARY", None)


def _compare(got: list[Tensor], want: list[Tensor], dtype: torch.dtype, slack: float = 1.0) -> None:
    for a, b in zip(got, want, strict=True):
        assert torch.isfinite(b).all()
        error = (a - b).abs().max() / b.abs().max().clamp(min=1e-3)
        assert error.item() < slack * TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_an_agents_updates(size, dtype, network, monkeypatch):
    updates = Updates(size, dtype, network)
    with torch.no_grad():
        assert forms.both_networks(
            updates.nets.policy, updates.nets.critic, updates.nets.policy.layout.views(updates.phi)
        )
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
        assert forms.objective(updates.net.config)
    got = updates.objective()
    _step_by_step(monkeypatch)
    _compare(got, updates.objective(), dtype)


ADVANTAGE = {"use_advantage": True, "use_next_value": False}
WHOLE = [
    ({}, {}, {}, {}),
    ({"twin_critics": False}, {"use_value": False}, {"action_penalty": 0.3}, {}),
    ({}, {"reflect_actions": True, "normalization": "td"}, {}, {"gradient_scaling": "normalize"}),
    ({}, {"use_next_value": False, "use_time": False}, {"polyak": 0.5}, {"gradient_clip": 1e-3}),
    ({}, {"normalization": "joint"}, {}, {"gradient_clip": 1e3}),
    (
        {"hidden_units": 50, "hidden_layers": 3}, {"hidden_units": 24, "lstm_units": 10},
        {"policy_gradient_clip": 1e-3, "action_penalty": 0.05}, {"inner_reduction": "mean"},
    ),
    ({}, ADVANTAGE, {"action_penalty": 0.05}, {"gradient_scaling": "normalize"}),
    ({}, {**ADVANTAGE, "resample_noise": 0.4}, {}, {}),
    ({}, {**ADVANTAGE, "reflect_actions": True}, {}, {"outer_loss": "action_regression"}),
    (
        {"hidden_units": 32}, {**ADVANTAGE, "use_critic_direction": True, "resample_noise": 0.4},
        {"action_penalty": 0.05}, {"outer_loss": "action_regression", "gradient_clip": 1e-3},
    ),
    ({}, {"use_critic_direction": True, "reflect_actions": True}, {}, {"gradient_clip": 1e3}),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(("network", "objective", "agent", "meta"), WHOLE, ids=str)
def test_policy_update_and_meta_gradient(size, dtype, network, objective, agent, meta, monkeypatch):
    updates = Updates(size, dtype, network, objective)
    how = AgentConfig(**agent), MetaConfig(inner_step_size=0.01, **meta)
    with torch.no_grad():
        views = updates.nets.policy.layout.views(updates.phi)
        assert forms.both_networks(updates.nets.policy, updates.nets.critic, views)
    assert forms.policy_updates(how[1], updates.net.config)
    got = updates.whole(*how)
    _step_by_step(monkeypatch)
    _compare(got, updates.whole(*how, fused=False), dtype, slack=30)  # a chain of many steps


@torch.no_grad()
def test_without_a_meta_gradient_only_the_policies_learn():
    updates = Updates((5, 7, 3, 2), torch.float64)
    agent = AgentConfig(action_penalty=0.3)
    want = updates.whole(agent, MetaConfig())
    got = updates.whole(agent, None)
    norm, loss, policy_norm, value, *gradients = got[:6]
    assert not norm.any()
    assert not value.any()
    assert [len(gradient) for gradient in gradients] == [0, 0]
    _compare([loss, policy_norm, *got[6:]], [want[1], want[2], *want[6:]], torch.float64)


def test_a_policy_gradient_that_is_not_finite_changes_nothing():
    updates = Updates((5, 7, 3, 2), torch.float64)
    updates.batches[0].rewards[:] = float("inf")  # the second agent learns from the other one
    _, _, policy_norm, *_ = found = updates.whole(AgentConfig(), MetaConfig())
    assert policy_norm.isfinite().tolist() == [False, True]
    (phi, m, *targets), (other_phi, *_) = found[7:11], found[12:16]
    assert torch.equal(phi, updates.phi)
    assert not m.any()
    assert all(map(torch.equal, targets, (0.5 * updates.phi, updates.theta_target)))
    assert not torch.equal(other_phi, -updates.phi)


@pytest.mark.parametrize("variant", [{"bidirectional": True}, {"use_observation": True}], ids=str)
def test_variants_without_a_kernel_of_their_own(variant):
    updates = Updates((5, 7, 3, 2), torch.float64, objective=variant)
    with torch.no_grad():
        assert not forms.objective(updates.net.config)


@pytest.mark.parametrize(
    "size", [(1, 1, 1, 1), (3, 1, 2, 9), (2, 33, 30, 1), (40, 20, 17, 6)], ids=str
)
@pytest.mark.parametrize("network", [{}, {"hidden_units": 5, "hidden_layers": 1}], ids=str)
@pytest.mark.parametrize(
    "objective",
    [
        {},
        {"hidden_units": 4, "lstm_units": 9, "input_features": 13},
        {**ADVANTAGE, "use_critic_direction": True},
    ],
    ids=str,
)
def test_scratch_is_long_enough(size, network, objective, monkeypatch):
    """Nothing is written behind what a kernel said that it needs."""
    guards, margin, allocate = [], 4096, library.scratch

    def guarded(like, room, *sizes, parts=1):
        found = []
        for part in allocate(like, room, *sizes, parts=parts):
            longer = like.new_full((len(part) + margin,), 7.0)
            guards.append(longer[-margin:])
            found.append(longer[:-margin])
        return found

    monkeypatch.setattr(library, "scratch", guarded)
    updates = Updates(size, torch.float64, network, objective)
    for compute in (updates.critic, updates.actions, updates.policy, updates.objective):
        compute()
    updates.whole(AgentConfig(action_penalty=0.3), MetaConfig())
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
        adam = ops.adam(torch.ones(2, 37, dtype=dtype), 0.1)
        for gradient in gradients:
            adam.step(gradient)
        return [adam.parameters, adam.m, adam.v]

    got = steps()
    _step_by_step(monkeypatch)
    _compare(got, steps(), dtype)
