"""The two updates of an agent, where they end, and its state."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from metagenrl.agents.backend.actor_critic import ActorCritic
from metagenrl.learner.hyperparams import AgentConfig
from metagenrl.learner.networks.agent_networks import apply_policy
from metagenrl.learner.policy_update import CriticObjective
from metagenrl.learner.types import Batch

OBSERVATIONS, ACTIONS, B, T = 3, 2, 6, 5
CONFIG = AgentConfig(hidden_units=8, batch_size=B, segment_length=T, polyak=0.1)


def _actor_critic(seed=0, **fields):
    generator = torch.Generator().manual_seed(seed)
    return ActorCritic(replace(CONFIG, **fields), OBSERVATIONS, ACTIONS, generator)


def _batch(seed):
    generator = torch.Generator().manual_seed(seed)
    length = torch.tensor([[T], [1], [3], [T], [T], [2]])
    mask = (torch.arange(T) < length).to(torch.get_default_dtype())
    terminated = (
        mask * (torch.arange(T) == length - 1) * torch.tensor([[0], [1], [1], [1], [0], [0]])
    )
    return Batch(
        torch.randn(B, T + 1, OBSERVATIONS, generator=generator),
        (torch.rand(B, T, ACTIONS, generator=generator) * 2 - 1) * mask[..., None],
        torch.randn(B, T, generator=generator) * mask,
        terminated.to(mask.dtype),
        mask,
    )


def _policy_step(agent, batch):
    with torch.no_grad():
        evaluation = agent.evaluate(batch)
        value = CriticObjective()(evaluation)
    return agent.update_policy(evaluation, value)


def _parameters(agent):
    return {n: getattr(agent, n).clone() for n in ("phi", "theta", "phi_target", "theta_target")}


@pytest.mark.parametrize(
    ("update", "changed"),
    [
        (lambda agent: agent.update_critic(_batch(0)), {"theta"}),
        (lambda agent: _policy_step(agent, _batch(0)), {"phi"}),
        (lambda agent: agent.update_targets(), {"phi_target", "theta_target"}),
    ],
    ids=["critic", "policy", "targets"],
)
def test_each_update_changes_its_own_parameters_alone(update, changed):
    agent = _actor_critic()
    agent.update_critic(_batch(7))
    _policy_step(agent, _batch(8))  # networks and targets differ now
    before = _parameters(agent)
    update(agent)
    after = _parameters(agent)
    assert {name for name in before if not torch.equal(before[name], after[name])} == changed


def test_targets_follow_at_the_polyak_rate():
    agent = _actor_critic()
    agent.phi_target.fill_(1.0)
    agent.phi.fill_(3.0)
    agent.update_targets()
    torch.testing.assert_close(agent.phi_target, torch.full_like(agent.phi, 1.2))


def test_policy_gradient_is_clipped_and_its_norm_reported():
    agent = _actor_critic(policy_gradient_clip=1e-4)
    norm = _policy_step(agent, _batch(0))
    assert norm > 1e-3
    assert agent.phi_gradient.norm().item() == pytest.approx(1e-4, rel=1e-4)


def test_policy_loss_is_a_mean_over_valid_steps():
    """Twice the same segments give the same gradient; the sum would double it."""
    batch = _batch(0)
    names = ("observations", "actions", "rewards", "terminated", "mask")
    twice = Batch(*(torch.cat([getattr(batch, n)] * 2) for n in names))
    norms = [_policy_step(_actor_critic(), x) for x in (batch, twice)]
    assert norms[1] == pytest.approx(norms[0], rel=1e-5)


def test_single_critic_is_ddpg():
    agent = _actor_critic(twin_critics=False)
    assert agent.theta.shape[0] == 1
    before = agent.theta.clone()
    losses = [agent.update_critic(_batch(0)).td_loss for _ in range(50)]
    assert losses[-1] < 0.8 * losses[0]
    assert not torch.equal(agent.theta, before)


def test_act_is_the_policy():
    agent = _actor_critic()
    s = np.random.default_rng(0).normal(size=OBSERVATIONS).astype(np.float32)
    action = agent.act(s)
    expected = apply_policy(agent.nets.policy, agent.phi_views, torch.from_numpy(s))
    np.testing.assert_allclose(action, expected.numpy(), rtol=1e-5)
    assert action.dtype == np.float32
    assert np.abs(agent.act(1e6 * s)).max() <= 1.0


def _advance(agent, seed):
    agent.update_critic(_batch(seed))
    _policy_step(agent, _batch(seed + 1))
    agent.update_targets()


def test_restored_agent_goes_on_bit_for_bit():
    first, second = _actor_critic(), _actor_critic(seed=9)
    _advance(first, 0)
    state = first.state_dict()
    for array in (state["phi"], state["theta_adam"]["m"]):
        array.flags.writeable = False  # as Ray hands arrays over
    _advance(first, 10)  # the state is a copy
    second.load_state_dict(state)
    _advance(second, 10)
    for (name, a), b in zip(_parameters(first).items(), _parameters(second).values(), strict=True):
        assert torch.equal(a, b), name


def test_a_state_of_other_sizes_is_refused():
    for other in (_actor_critic(hidden_units=6), _actor_critic(twin_critics=False)):
        with pytest.raises(RuntimeError, match="size"):
            _actor_critic().load_state_dict(other.state_dict())


def test_a_policy_gradient_that_is_not_finite_leaves_the_policy_alone(walk):
    agent = AgentConfig(hidden_units=6, segment_length=5, batch_size=4)
    ac = ActorCritic(agent, 2, 1, torch.Generator().manual_seed(0))
    before = ac.phi.clone()
    ac.phi_gradient.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="the policy's gradient has norm nan"):
        ac.apply_policy_gradient()
    assert torch.equal(ac.phi, before)
    assert ac.phi_adam.t == 0
