"""One round of Algorithm 1: when it learns, what it reports, and what its gradient is."""

import math

import numpy as np
import pytest
import torch

from metagenrl.agents.reports import first_life
from metagenrl.learner.meta_gradient import mean_value, meta_gradient_by_autograd
from metagenrl.learner.networks.agent_networks import apply_critic, apply_policy
from metagenrl.learner.objective.inputs import objective_inputs
from metagenrl.learner.objective.net import ObjectiveNet, apply
from metagenrl.learner.policy_value import PolicyEvaluation
from tests.fixtures.alone import Alone as Member


def _run(member, alphas, rounds, start=0):
    return [member.round(alphas(i), version=i, round_index=i) for i in range(start, start + rounds)]


class Spy:
    """A member whose last round can be computed again from what went into it."""

    def __init__(self, member, alphas):
        self.member, self.alphas, self.samples = member, alphas, []
        draw = member.rollout.minibatch

        def recorded(segments):
            drawn = draw(segments)
            self.samples.append(drawn.segments())
            return drawn

        member.rollout.minibatch = recorded

    def round(self, index):
        self.phi = self.member.actor_critic.phi.clone().double()
        self.alpha = torch.from_numpy(self.alphas(index)).double()
        return self.member.round(self.alphas(index), index, index)

    @property
    def batches(self):
        meta = self.member.config.meta
        return tuple(x.to(torch.float64) for x in self.samples[-1].split(meta.inner_steps + 1))

    @property
    def theta(self):
        """As of the meta-gradient: the policy's update leaves the critics alone."""
        ac = self.member.actor_critic
        return ac.nets.critic.layout.views(ac.theta.double())


def test_no_gradient_while_the_buffer_fills(member_config, alphas):
    """learning_starts is 12: five rounds of two steps are too few."""
    *filling, first = _run(Member(member_config()), alphas, 6)
    assert [report.gradient for report in filling] == [None] * 5
    assert all(math.isnan(r.q) and math.isnan(r.value_after) for r in filling)
    assert first.gradient is not None
    assert math.isfinite(first.q + first.td_loss + first.objective_loss + first.value_after)


@pytest.mark.parametrize(("inner_steps", "first"), [(1, 6), (3, 8)])
def test_enough_steps_for_every_minibatch_come_first(member_config, alphas, inner_steps, first):
    """k = 3 needs 4 disjoint minibatches of 4: 16 steps."""
    reports = _run(Member(member_config(inner_steps=inner_steps)), alphas, 9)
    learning = [r.gradient is not None for r in reports]
    assert learning == [i + 1 >= first for i in range(9)]


def test_report_and_gradient_say_where_they_come_from(member_config, alphas):
    member = Member(member_config(run="r7", index=3, seed=5), incarnation=2)
    report = _run(member, alphas, 6, start=40)[-1]
    assert report.gradient.identity == ("r7", 3, 2, 45, 45)
    assert report.gradient.environment == report.env_id == "Walk-v0"
    assert (report.agent, report.incarnation) == (3, 2)
    assert (report.steps, report.life, report.life_steps) == (12, 0, 12)
    assert report.gradient.gradient.dtype == np.float32


def test_episodes_are_reported_in_the_round_they_end(member_config, alphas):
    member = Member(member_config())
    lengths = [episode.length for r in _run(member, alphas, 30) for episode in r.episodes]
    environment = member.rollout.environment
    running = 0 if environment.observation is None else environment.episode_length
    assert len(lengths) > 5
    assert sum(lengths) + running == 60


def test_normalized_gradients_have_norm_one(member_config, alphas):
    member = Member(member_config(gradient_scaling="normalize"))
    for report in _run(member, alphas, 9)[5:]:
        assert np.linalg.norm(report.gradient.gradient) == pytest.approx(1.0, rel=1e-5)
        assert report.gradient.norm != pytest.approx(1.0, rel=1e-2)  # the one before scaling


@pytest.mark.parametrize("bound", [1e-6, 1e6])
def test_clipped_gradients_do_not_exceed_the_bound(member_config, alphas, bound):
    member = Member(member_config(gradient_clip=bound))
    for report in _run(member, alphas, 9)[5:]:
        got = float(np.linalg.norm(report.gradient.gradient))
        assert got == pytest.approx(min(bound, report.gradient.norm), rel=1e-5)


@pytest.mark.parametrize("inner_steps", [1, 2])
@pytest.mark.parametrize("variant", [{}, {"bidirectional": True, "use_time": False}], ids=str)
def test_gradient_is_that_of_the_policy_before_its_update(
    member_config, alphas, inner_steps, variant
):
    """Disjoint minibatches, alpha as broadcast, phi before Adam's step, critics after theirs."""
    config = member_config(
        inner_steps=inner_steps, gradient_clip=1e6, inner_step_size=1e-4, **variant
    )
    spy = Spy(Member(config), lambda i: alphas(i, config.objective))
    reports = [spy.round(i) for i in range(10)]
    assert len(spy.batches) == inner_steps + 1
    want, j = meta_gradient_by_autograd(
        config.meta, ObjectiveNet(config.objective), spy.member.actor_critic.nets, spy.alpha,
        spy.phi, spy.theta, spy.batches,
    )  # fmt: skip
    got = torch.from_numpy(reports[-1].gradient.gradient).double()
    assert ((got - want).norm() / want.norm()).item() < 1e-3
    assert reports[-1].value_after == pytest.approx(j.item(), rel=1e-4)


def _policy_norm(spy, p):
    """Norm of grad_phi mean(p l - (1 - p) Q), and mean l, in float64 by autograd."""
    nets, batch = spy.member.actor_critic.nets, spy.batches[0]
    phi, s = spy.phi.clone().requires_grad_(), batch.observations[:, :-1]
    theta1 = {name: view[:1] for name, view in spy.theta.items()}
    with torch.no_grad():
        before = PolicyEvaluation(nets, nets.policy.layout.views(spy.phi), spy.theta, batch)
        net = ObjectiveNet(spy.member.config.objective)
        inputs = objective_inputs(net.config, batch, before.v, before.v_next)
    pi = apply_policy(nets.policy, nets.policy.layout.views(phi), s)
    loss = apply(net, spy.alpha, pi, inputs)
    q = apply_critic(nets.critic, theta1, s, pi)[0] * batch.mask
    mixed = (p * loss - (1 - p) * q).sum() / batch.mask.sum()
    norm = torch.autograd.grad(mixed, phi)[0].norm().item()
    return norm, (loss.sum() / batch.mask.sum()).item()


@pytest.mark.parametrize("rounds", [6, 10, 25])
def test_annealing_follows_the_steps_of_the_first_life(member_config, alphas, rounds):
    """anneal_steps is 40: p = 12/40, 20/40, and 1 from step 40 on."""
    spy = Spy(Member(member_config()), alphas)
    report = [spy.round(i) for i in range(rounds)][-1]
    p = min(1.0, 2 * rounds / 40)
    norm, loss = _policy_norm(spy, p)
    assert report.policy_gradient_norm == pytest.approx(norm, rel=1e-3)
    assert report.objective_loss == pytest.approx(loss, rel=1e-3)
    other, _ = _policy_norm(spy, p / 2)
    assert report.policy_gradient_norm != pytest.approx(other, rel=1e-2)


def test_later_lives_do_not_anneal(member_config, alphas):
    spy = Spy(Member(member_config(first_life=20, lifetime=40, lifetime_random_steps=0)), alphas)
    report = [spy.round(i) for i in range(17)][-1]
    assert (report.life, report.life_steps) == (1, 14)
    assert report.policy_gradient_norm == pytest.approx(_policy_norm(spy, 1.0)[0], rel=1e-3)


def test_targets_follow_once_a_round(member_config, alphas):
    member = Member(member_config(polyak=0.25))
    ac = member.actor_critic
    born = ac.phi.clone(), ac.theta.clone()
    _run(member, alphas, 6)
    torch.testing.assert_close(ac.phi_target, 0.75 * born[0] + 0.25 * ac.phi)
    torch.testing.assert_close(ac.theta_target, 0.75 * born[1] + 0.25 * ac.theta)
    assert not torch.equal(ac.phi, born[0])


def test_value_after_is_j_at_the_inner_steps_end(member_config, alphas):
    """With a vanishing inner step, J is the value of the policy before its update."""
    spy = Spy(Member(member_config(inner_step_size=1e-12)), alphas)
    report = [spy.round(i) for i in range(8)][-1]
    nets = spy.member.actor_critic.nets
    want = mean_value(nets, spy.phi, spy.theta, spy.batches).item()
    assert report.value_after == pytest.approx(want, rel=1e-4)


def test_first_lives_are_staggered_over_half_to_one_and_a_half_lifetimes():
    """Eight agents in two environments: four of each, a quarter of a life apart."""
    lives = [first_life(6000, i, environments=2, agents=8, stagger=True) for i in range(8)]
    assert lives == [3000, 3000, 4500, 4500, 6000, 6000, 7500, 7500]
    assert first_life(6000, 5, 2, 8, stagger=False) == 6000
    assert first_life(0, 5, 2, 8, stagger=True) == 0
    assert first_life(1, 0, 2, 8, stagger=True) == 1
    assert [first_life(90, i, 2, 5, True) for i in range(5)] == [45, 45, 75, 75, 105]
