"""The plain reference is the same algorithm, and what is timed is what a member does."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from benchmarks.agreement import carry_over, float64, relative_differences, transposed
from benchmarks.problem import Problem, preset_problem, synthetic_batch
from benchmarks.project import ProjectAgent
from benchmarks.reference import PlainAgent
from metagenrl.agents.reports import MemberConfig
from metagenrl.learner.hyperparams import MetaConfig, ObjectiveConfig
from tests.fixtures.alone import Alone as Member


@pytest.mark.parametrize("action_size", [1, 3])
def test_gradients_agree_in_float64(tiny: Problem, action_size: int) -> None:
    with float64():
        differences = relative_differences(dataclasses.replace(tiny, action_size=action_size))
    assert set(differences) == {"critic", "policy", "objective"}
    assert max(differences.values()) < 1e-10


def test_gradients_agree_in_float32(wide: Problem) -> None:
    """A random alpha makes Eq. 6 badly conditioned, at these sizes too."""
    differences = relative_differences(wide)
    assert differences["critic"] < 1e-5
    assert differences["policy"] < 1e-3
    assert differences["objective"] < 1e-2


def test_updates_agree(wide: Problem) -> None:
    """Adam, clips, noise and targets too: both agents stay together over several updates."""
    with float64():
        project, plain = ProjectAgent(wide), PlainAgent(wide, seed=9)
        carry_over(project, plain)
        generator = torch.Generator().manual_seed(5)
        for _ in range(4):
            first, second = (synthetic_batch(wide, generator, shortest=1) for _ in range(2))
            for agent in (project, plain):
                agent.update_critic(first)
                agent.update_policy(second)
            sent = project.objective_gradient(first, second)
            assert float(sent.norm()) == pytest.approx(
                float(plain.objective_gradient(first, second).norm()), rel=1e-6
            )
    ac = project.actor_critic
    for flat, module in (
        (ac.phi, plain.policy),
        (ac.phi_target, plain.target_policy),
        (ac.theta, plain.critics),
        (ac.theta_target, plain.target_critics),
    ):
        torch.testing.assert_close(
            flat.flatten(), transposed(module.parameters()), rtol=1e-6, atol=1e-8
        )


def test_the_plain_objective_has_as_many_parameters() -> None:
    plain = PlainAgent(preset_problem("small"))
    assert sum(p.numel() for p in plain.objective.parameters() if p.requires_grad) == 15_497


def test_project_updates_are_a_member_s(tiny: Problem) -> None:
    """What is timed on synthetic minibatches does what `Member.round` does, bit for bit."""
    config = MemberConfig("run", 0, 0, tiny.env_id, 0, tiny.agent, tiny.meta, tiny.objective)
    member, project = Member(config), ProjectAgent(tiny)
    alpha = project.alpha.numpy()
    while member.round(alpha, 0, 0).gradient is None:
        pass
    project.actor_critic.load_state_dict(member.state_dict()["actor_critic"])
    samples, draw = [], member.rollout.minibatch

    def recorded(segments: int) -> Any:
        drawn = draw(segments)
        samples.append(drawn.segments())
        return drawn

    member.rollout.minibatch = recorded
    report = member.round(alpha, 0, 0)
    assert report.gradient is not None
    *steps, last = samples
    gradient = project.learn([*(s.batch() for s in steps), *last.split(2)])
    assert torch.equal(gradient, torch.from_numpy(report.gradient.gradient))
    for name in ("phi", "theta", "phi_target", "theta_target"):
        assert torch.equal(getattr(project.actor_critic, name), getattr(member.actor_critic, name))
    member.close()


def test_variants_without_a_reference_are_refused(tiny: Problem) -> None:
    with pytest.raises(ValueError, match="inner_steps"):
        dataclasses.replace(tiny, meta=MetaConfig(inner_steps=2))
    with pytest.raises(ValueError, match="objective"):
        dataclasses.replace(tiny, objective=ObjectiveConfig(bidirectional=True))
