"""Do project and plain reference compute the same? Parameters carried over, gradients compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from benchmarks.problem import Problem, synthetic_batch
from benchmarks.project import ProjectAgent
from benchmarks.reference import PlainAgent
from metagenrl.learner.objective.net import ObjectiveNet


@torch.no_grad()
def carry_over(project: ProjectAgent, plain: PlainAgent) -> None:
    """Give the plain agent the project's parameters, targets and objective."""
    ac = project.actor_critic
    policy, critic = ac.nets.policy.layout, ac.nets.critic.layout
    for module, flat in ((plain.policy, ac.phi), (plain.target_policy, ac.phi_target)):
        _fill(module.parameters(), policy.views(flat[0]).values())
    for modules, flat in ((plain.critics, ac.theta), (plain.target_critics, ac.theta_target)):
        for network, member in zip(modules, flat, strict=True):
            _fill(network.parameters(), critic.views(member).values())
    trained = (p for p in plain.objective.parameters() if p.requires_grad)
    _fill(trained, _lstm_joined(project.objective.learned.net, project.alpha))
    plain.generator.set_state(ac.generator.get_state())


def _fill(parameters: Iterable[nn.Parameter], values: Iterable[Tensor]) -> None:
    """`nn.Linear` stores `[out, in]`, the project `[in, out]`; the order is the same."""
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value.mT if value.dim() == 2 else value)


def _lstm_joined(net: ObjectiveNet, alpha: Tensor) -> list[Tensor]:
    """Alpha's tensors in the order of `PlainObjective`, whose LSTM has one matrix for inputs."""
    views = net.layout.views(alpha)
    views["lstm/w_action"] = torch.cat([views["lstm/w_action"], views.pop("lstm/w_constant")])
    return list(views.values())


def transposed(gradients: Iterable[Tensor | None]) -> Tensor:
    """A plain module's gradients as the project lays them out: flat, weights `[in, out]`."""
    parts = [g for g in gradients if g is not None]
    return torch.cat([(g.mT if g.dim() == 2 else g).flatten() for g in parts])


def relative_differences(problem: Problem) -> dict[str, float]:
    """|project - reference| / |reference| of each update's gradient, with ragged segments.

    In torch's default type: in float32 Eq. 6 is badly conditioned for a random alpha (section 6).
    """
    project, plain = ProjectAgent(problem), PlainAgent(problem)
    carry_over(project, plain)
    generator = torch.Generator().manual_seed(1)
    batches = [synthetic_batch(problem, generator, shortest=1) for _ in range(2)]
    net, ac = project.objective.learned.net, project.actor_critic
    pairs = {}
    meta = project.meta_gradient(*batches)
    flat = torch.cat([x.flatten() for x in _lstm_joined(net, meta)])
    pairs["objective"] = (flat, transposed(plain.meta_gradient(*batches)))
    plain.policy_gradient(batches[0])
    mean = ac.phi_gradient[0] / batches[0].mask.sum()
    pairs["policy"] = (mean, transposed(p.grad for p in plain.policy.parameters()))
    project.update_critic(batches[0])
    plain.update_critic(batches[0])
    theta = transposed(p.grad for p in plain.critics.parameters())
    pairs["critic"] = (ac.theta_gradient.flatten(), theta)
    return {name: float((a - b).norm() / b.norm()) for name, (a, b) in pairs.items()}


@contextmanager
def float64() -> Iterator[None]:
    """Torch's default type is float64 inside."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
