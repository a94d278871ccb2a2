"""Actions around the policy that an objective is shown in the place of the taken ones."""

import pytest
import torch

from metagenrl.learner.networks.agent_networks import apply_policy
from metagenrl.learner.policy_update import ReinforceByCritic
from metagenrl.learner.resampling import resampled_alone, resampling_noise


def _shown(problem, noise):
    pi = problem.evaluation().pi
    return resampled_alone(problem.nets, problem.phi_views, problem.batches, noise, pi)


@torch.no_grad()
@pytest.mark.usefixtures("each_backend")
def test_they_lie_around_the_policy_within_the_bounds(make_problem):
    problem = make_problem(minibatches=3)
    b, t, a = problem.batches[0].actions.shape
    noise = torch.randn(2 * b, t, a, dtype=torch.float64)
    shown = _shown(problem, noise)
    for batch, own, taken in zip(shown, noise.chunk(2), problem.batches, strict=False):
        pi = apply_policy(problem.nets.policy, problem.phi_views, taken.observations[:, :-1])
        want = (pi + own).clamp(-1, 1) * taken.mask[..., None]
        torch.testing.assert_close(batch.actions, want)
        assert batch.actions.abs().max() == 1
        assert torch.equal(batch.rewards, taken.rewards)
    assert torch.equal(shown[2].actions, problem.batches[2].actions), "nobody looks at these"


def test_noise_has_its_standard_deviation_and_none_is_drawn_for_the_taken_actions():
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert resampling_noise(0.0, (9, 9), generator) is None
    assert torch.equal(generator.get_state(), before)
    noise = resampling_noise(0.3, (200, 20, 2), generator)
    assert noise.std() == pytest.approx(0.3, rel=0.05)
    assert noise.abs().max() > 0.9, "no clip as of the target policy's"


@torch.no_grad()
def test_with_little_noise_the_hand_made_rule_follows_the_critic(make_problem):
    """E[(a - pi) A] is std^2 dQ/da: what the advantage says of actions far away it need not."""
    problem = make_problem()
    batch = problem.batches[0]
    want = problem.evaluation(batch).action_value_gradient * batch.mask[..., None]
    found, draws = torch.zeros_like(want), 300
    generator = torch.Generator().manual_seed(0)
    for _ in range(draws):
        noise = resampling_noise(0.01, (2 * len(batch.mask), *want.shape[1:]), generator)
        shown = _shown(problem, noise.double())[0]
        found -= ReinforceByCritic()(problem.evaluation(shown)).action_gradient / draws
    flat = found.flatten(), want.flatten()
    assert torch.nn.functional.cosine_similarity(*flat, dim=0) > 0.9
    taken = -ReinforceByCritic()(problem.evaluation(batch)).action_gradient
    assert torch.nn.functional.cosine_similarity(taken.flatten(), flat[1], dim=0) < 0.8
