"""K agents along a leading axis compute what each computes alone (float64)."""

from dataclasses import dataclass, replace

import pytest
import torch
from fixtures.problems import VARIANTS
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from metagenrl.learner import ops
from metagenrl.learner.adam import Adam, clip_by_norm, scale_to_norm
from metagenrl.learner.critic import td_gradient, td_target
from metagenrl.learner.hyperparams import AgentConfig, MetaConfig
from metagenrl.learner.meta_gradient import meta_gradient
from metagenrl.learner.native import library
from metagenrl.learner.networks.agent_networks import AgentNetworks
from metagenrl.learner.ops import NATIVE, PLAIN
from metagenrl.learner.policy_update import Learned, anneal
from metagenrl.learner.stacked_agents import StackedAgents
from metagenrl.learner.types import Batch

K = 3
FIELDS = ("observations", "actions", "rewards", "terminated", "mask")


def _shortened(batch, steps):
    """No segment longer than `steps`: each agent has a number of valid steps of its own."""
    mask = batch.mask * (torch.arange(batch.mask.shape[1]) < steps)
    return replace(batch, mask=mask)


def _stack(batches):
    return Batch(*(torch.stack([getattr(b, name) for b in batches]) for name in FIELDS))


@dataclass
class Twins:
    """The same agents twice: alone, and stacked."""

    nets: object
    agent: AgentConfig
    meta: MetaConfig
    net: object
    alpha: torch.Tensor
    phi: list[torch.Tensor]
    theta: list[torch.Tensor]
    batches: list[tuple[Batch, Batch]]
    stacked: StackedAgents

    def adams(self, agent):
        return (
            Adam(self.phi[agent], self.agent.policy_learning_rate),
            Adam(self.theta[agent], self.agent.critic_learning_rate),
        )


@pytest.fixture
def make_twins(make_problem):
    def make(
        action_size=2, agent=None, meta=None, seed=0, dtype=torch.float64, ops=PLAIN, **variant
    ):
        problems = [make_problem(action_size, seed=seed + i, **variant) for i in range(K)]
        first = problems[0]
        agent = replace(agent or AgentConfig(), hidden_units=7)
        meta = meta or MetaConfig()
        nets = AgentNetworks.of(agent, first.nets.policy.inputs, action_size)
        alpha = first.alpha.to(dtype)
        learned = Learned(first.net, alpha)
        stacked = StackedAgents(nets, agent, meta, learned, alpha.new_zeros(K), ops)
        phi = [p.phi.to(dtype) for p in problems]
        theta = [p.theta[: nets.critics].to(dtype).contiguous() for p in problems]
        batches = [
            tuple(_shortened(b.to(dtype), 6 - i) for b in p.batches) for i, p in enumerate(problems)
        ]
        stacked.phi.copy_(torch.stack(phi))
        stacked.theta.copy_(torch.stack(theta))
        generator = torch.Generator().manual_seed(99)
        for target, own in (
            (stacked.phi_target, stacked.phi),
            (stacked.theta_target, stacked.theta),
        ):
            noise = torch.randn(own.shape, generator=generator, dtype=own.dtype)
            target.copy_(own + 0.1 * noise)
        return Twins(nets, agent, meta, first.net, alpha, phi, theta, batches, stacked)

    return make


def _error(got, want):
    return ((got - want).norm() / want.norm().clamp(min=1e-30)).item()


def _alone(twins, i, p):
    """One agent's round on plain functions: what `Member` does. Steps its phi in place."""
    phi, policy, critic = twins.phi[i], twins.nets.policy.layout, twins.nets.critic.layout
    theta = critic.views(twins.theta[i])
    evaluation = ops.evaluate(twins.nets, policy.views(phi), theta, twins.batches[i][0])
    learned = Learned(twins.net, twins.alpha)
    value = learned(evaluation)
    gradient = torch.empty_like(phi)
    evaluation.policy_gradient(value.action_gradient, policy.views(gradient))
    g, j = meta_gradient(
        twins.meta, learned, value, evaluation, phi, gradient, twins.batches[i][1:],
    )  # fmt: skip
    raw = g.clone()
    scale = scale_to_norm if twins.meta.gradient_scaling == "normalize" else clip_by_norm
    norm = scale(g, twins.meta.gradient_clip)
    annealed = anneal(p, value, evaluation)
    evaluation.policy_gradient(
        annealed.action_gradient, policy.views(gradient), twins.agent.action_penalty
    )
    valid = evaluation.batch.mask.sum()
    gradient.div_(valid)
    policy_norm = clip_by_norm(gradient, twins.agent.policy_gradient_clip)
    twins.adams(i)[0].step(gradient)
    return raw, g, norm, value.loss.sum() / valid, policy_norm, j


@torch.no_grad()
def _agree(twins, p, tolerance=1e-10):
    """Every agent's meta-gradient, policy step and what is reported of them."""
    inner, held_out = (_stack([b[i] for b in twins.batches]) for i in range(2))
    weights = None if p is None else torch.tensor(p, dtype=torch.float64)
    before = twins.stacked.phi.clone()
    targets = twins.stacked.phi_target.clone(), twins.stacked.theta_target.clone()
    got = twins.stacked.update_policies((inner, held_out), weights, torch.ones(K, dtype=torch.bool))
    for i in range(K):
        raw, g, norm, loss, policy_norm, j = _alone(twins, i, 1.0 if p is None else p[i])
        assert raw.norm() > 1e-6
        assert _error(got.gradient[i], g) < tolerance
        assert got.norm[i].item() == pytest.approx(norm, rel=tolerance)
        assert got.loss[i].item() == pytest.approx(loss.item(), rel=tolerance)
        assert got.policy_norm[i].item() == pytest.approx(policy_norm, rel=tolerance)
        assert got.value_after[i].item() == pytest.approx(j.item(), rel=tolerance)
        moved = twins.phi[i] - before[i]
        assert moved.abs().max() > 1e-4
        assert _error(twins.stacked.phi[i] - before[i], moved) < 1e-8
    rate = twins.agent.polyak
    for target, own, old in zip(
        (twins.stacked.phi_target, twins.stacked.theta_target),
        (twins.stacked.phi, twins.stacked.theta),
        targets, strict=True,
    ):  # fmt: skip
        torch.testing.assert_close(target, old + rate * (own - old), rtol=1e-12, atol=1e-14)


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("action_size", [1, 3])
def test_policy_updates_and_meta_gradients(make_twins, variant, action_size):
    _agree(make_twins(action_size, **variant), None)


@pytest.mark.skipif(library.backend() == "torch", reason="the library was not built")
@pytest.mark.parametrize("p", [None, (1.0, 0.3, 0.0)])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_the_forms_in_c_give_what_plain_torch_gives(make_twins, variant, p):
    _agree(make_twins(2, AgentConfig(action_penalty=0.05), ops=NATIVE, **variant), p)


@pytest.mark.parametrize("action_size", [1, 2])
@pytest.mark.parametrize(
    ("agent", "meta"),
    [
        ({"action_penalty": 0.05}, {}),
        ({"policy_gradient_clip": 1e-3}, {"gradient_clip": 1e-4}),
        ({"twin_critics": False}, {"gradient_scaling": "normalize"}),
        ({}, {"inner_reduction": "mean", "inner_step_size": 0.05}),
        ({}, {"outer_loss": "action_regression"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("p", [None, [0.0, 0.3, 1.0]], ids=["alone", "annealed"])
def test_what_a_configuration_changes(make_twins, action_size, agent, meta, p):
    _agree(make_twins(action_size, AgentConfig(**agent), MetaConfig(**meta)), p)


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("twin", [True, False])
@pytest.mark.parametrize("action_size", [1, 3])
@torch.no_grad()
def test_critic_updates(make_twins, action_size, twin):
    twins = make_twins(action_size, AgentConfig(twin_critics=twin))
    stacked, nets = twins.stacked, twins.nets
    batches = [b[0] for b in twins.batches]
    noise = torch.randn(K, *batches[0].actions.shape, dtype=torch.float64).clamp(-0.3, 0.3)
    before = stacked.theta.clone()
    loss, q = stacked.update_critics(_stack(batches), noise, torch.ones(K, dtype=torch.bool))
    for i, batch in enumerate(batches):
        target = (
            nets.policy.layout.views(stacked.phi_target[i]),
            nets.critic.layout.views(stacked.theta_target[i]),
        )
        y = td_target(nets, *target, batch.alone, noise[i : i + 1], twins.agent.gamma)
        gradient = torch.empty_like(twins.theta[i])
        views = nets.critic.layout.views(twins.theta[i])
        want, want_q = td_gradient(nets, views, batch.alone, y, nets.critic.layout.views(gradient))
        assert loss[i].item() == pytest.approx(want.item(), rel=1e-12)
        assert q[i].item() == pytest.approx(want_q.item(), rel=1e-12)
        assert gradient.norm() > 1e-3
        assert _error(stacked._theta_gradient[i], gradient) < 1e-12
        twins.adams(i)[1].step(gradient)
        assert _error(stacked.theta[i] - before[i], twins.theta[i] - before[i]) < 1e-8
    state = stacked.networks_state(1)
    assert (state["theta_adam"]["t"], state["phi_adam"]["t"]) == (1, 0)


@torch.no_grad()
def test_mixed_precision_is_the_same_half_as_alone(make_twins, monkeypatch):
    """bfloat16 in the outer half only, as it is off the CPU: apart from float32 by its rounding."""
    monkeypatch.setattr(library, "_LIBRARY", None)
    monkeypatch.setattr(library, "multiplies_bfloat16", lambda x: True)
    values, policies = {}, {}
    for precision in ("fp32", "mixed"):
        twins = make_twins(2, AgentConfig(precision=precision), dtype=torch.float32)
        inner, held_out = (_stack([b[i] for b in twins.batches]) for i in range(2))
        active, p = torch.ones(K, dtype=torch.bool), torch.ones(K)
        step = twins.stacked.update_policies((inner, held_out), p, active)
        for i in range(K):
            want = _alone(twins, i, 1.0)
            assert step.value_after[i].item() == pytest.approx(want[5].item(), rel=1e-3)
            assert _error(step.gradient[i], want[1]) < 1e-2
        values[precision], policies[precision] = step.value_after, step.policy_norm
    apart = (values["mixed"] / values["fp32"] - 1).abs()
    assert (apart > 1e-5).all()
    assert (apart < 0.2).all()
    assert torch.equal(policies["mixed"], policies["fp32"])


@torch.no_grad()
def test_who_takes_no_part_is_left_untouched(make_twins):
    twins = make_twins()
    stacked = twins.stacked
    inner, held_out = (_stack([b[i] for b in twins.batches]) for i in range(2))
    before = [stacked.networks_state(i) for i in range(K)]
    active = torch.tensor([True, False, True])
    stacked.update_critics(inner, torch.zeros_like(inner.actions), active)
    stacked.update_policies((inner, held_out), None, active)
    after = [stacked.networks_state(i) for i in range(K)]
    for i in range(K):
        same = {name: (before[i][name] == after[i][name]).all() for name in ("phi", "theta")}
        assert set(same.values()) == {not active[i]}
        assert after[i]["phi_adam"]["t"] == int(active[i])
        assert (before[i]["phi_target"] == after[i]["phi_target"]).all() == (not active[i])
        assert (after[i]["theta_adam"]["v"] == 0).all() == (not active[i])


@torch.no_grad()
def test_a_broken_agent_spoils_nothing_but_itself(make_twins):
    """NaN in one agent's critic: its policy stays, the others' results do not change at all."""
    sound, broken = make_twins(), make_twins()
    broken.stacked.theta[1] = float("nan")
    inner, held_out = (_stack([b[i] for b in sound.batches]) for i in range(2))
    everyone = torch.ones(K, dtype=torch.bool)
    results = [
        t.stacked.update_policies((inner, held_out), None, everyone) for t in (sound, broken)
    ]
    assert torch.isnan(results[1].policy_norm).tolist() == [False, True, False]
    assert torch.equal(broken.stacked.phi[1], broken.phi[1])
    assert not torch.isnan(broken.stacked.phi_target[1]).any()
    for i in (0, 2):
        assert torch.equal(sound.stacked.phi[i], broken.stacked.phi[i])
        assert torch.equal(results[0].gradient[i], results[1].gradient[i])
    assert not torch.equal(sound.stacked.phi[0], sound.phi[0])


FACTORIES = {
    torch.tensor, torch.zeros, torch.ones, torch.full, torch.empty, torch.arange, torch.rand,
    torch.randn, torch.eye, torch.from_numpy,
}  # fmt: skip
WAITING = {"_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select", "unique"}


class NoneOnTheWay(TorchFunctionMode):
    """Refuses tensors that would be made on the CPU whatever device the others are on."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        assert func not in FACTORIES or "device" in (kwargs or {}), func
        return func(*args, **(kwargs or {}))


class NoWaiting(TorchDispatchMode):
    """Refuses what a GPU would have to be waited for, which a CUDA graph cannot hold."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.__name__.partition(".")[0] not in WAITING, func
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "variant",
    [{}, {"use_observation": True, "bidirectional": True},
     {"normalization": "td", "reflect_actions": True}, {"use_value": False}],
    ids=str,
)  # fmt: skip
@torch.no_grad()
def test_nothing_waits_for_a_device_or_is_made_beside_it(make_twins, monkeypatch, variant):
    monkeypatch.setattr(library, "_LIBRARY", None)
    meta = MetaConfig(inner_reduction="mean")
    twins = make_twins(2, AgentConfig(action_penalty=0.1), meta, **variant)
    inner, held_out = (_stack([b[i] for b in twins.batches]) for i in range(2))
    active, p = torch.ones(K, dtype=torch.bool), torch.full((K,), 0.5, dtype=torch.float64)
    noise = torch.zeros_like(inner.actions)
    with NoneOnTheWay(), NoWaiting():
        twins.stacked.act(inner.observations[:, 0, 0])
        twins.stacked.update_critics(inner, noise, active)
        twins.stacked.update_policies((inner, held_out), p, active)
    with pytest.raises(AssertionError), NoWaiting():
        float(p[0])


@torch.no_grad()
def test_step_counts_are_each_agents_own(make_twins):
    """Adam's bias correction of an agent that is younger than the others."""
    twins = make_twins()
    stacked, active = twins.stacked, torch.ones(K, dtype=torch.bool)
    own = [twins.adams(i)[0] for i in range(K)]
    generator = torch.Generator().manual_seed(1)
    for step in range(5):
        gradient = torch.randn(stacked.phi.shape, generator=generator, dtype=torch.float64)
        active[2] = step >= 3
        stacked._phi_adam.step(gradient, active)
        for i in range(K):
            if active[i]:
                own[i].step(gradient[i])
    for i in range(K):
        torch.testing.assert_close(stacked.phi[i], twins.phi[i], rtol=1e-12, atol=1e-14)
    assert stacked.networks_state(2)["phi_adam"]["t"] == 2


def test_networks_of_an_agent_go_in_and_out(make_twins):
    one, other = make_twins(), make_twins(seed=7)
    one.stacked._theta_adam.step(torch.ones_like(one.stacked.theta), torch.tensor([True] * K))
    state = one.stacked.networks_state(2)
    other.stacked.load_networks_state(0, state)
    again = other.stacked.networks_state(0)
    for name in ("phi", "theta", "phi_target", "theta_target"):
        assert (again[name] == state[name]).all()
    assert (again["theta_adam"]["m"] == state["theta_adam"]["m"]).all()
    assert again["theta_adam"]["t"] == 1
    with pytest.raises(RuntimeError):
        other.stacked.load_networks_state(0, state | {"phi": state["phi"][:, :-1]})
