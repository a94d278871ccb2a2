"""How near float32 and mixed precision come to the float64 meta-gradient, after a warm-up."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from benchmarks.agreement import float64
from benchmarks.problem import Problem, synthetic_batch
from benchmarks.project import ProjectAgent
from metagenrl.learner.hyperparams import Precision

WARM_UP_UPDATES = 60
"""Updates of alpha first: with a new one Eq. 6 is badly conditioned (section 6)."""
SAMPLES = 5


@dataclass(frozen=True)
class Nearness:
    """Mean cosine to the float64 meta-gradient over `SAMPLES` pairs of minibatches."""

    fp32: float
    mixed: float


def with_precision(problem: Problem, precision: Precision) -> Problem:
    """The same problem with `--precision`."""
    return replace(problem, agent=replace(problem.agent, precision=precision))


def nearness(problem: Problem) -> Nearness:
    """Train an agent and alpha on synthetic minibatches, then compare gradients there."""
    means = {name: sum(values) / SAMPLES for name, values in cosines(problem).items()}
    return Nearness(means["fp32"], means["mixed"])


def cosines(problem: Problem) -> dict[Precision, list[float]]:
    """The cosines that `nearness` averages, one for each pair of minibatches."""
    trained = _warm(problem)
    generator = torch.Generator().manual_seed(9)
    pairs = [[synthetic_batch(problem, generator) for _ in range(2)] for _ in range(SAMPLES)]
    found: dict[Precision, list[float]] = {"fp32": [], "mixed": []}
    for inner, held_out in pairs:
        with float64():
            exact_agent = _copy(trained, problem)
            exact = exact_agent.meta_gradient(inner.to(torch.float64), held_out.to(torch.float64))
        for precision, values in found.items():
            agent = _copy(trained, with_precision(problem, precision))
            gradient = agent.meta_gradient(inner, held_out).double()
            values.append(float(torch.cosine_similarity(gradient, exact, dim=0)))
    return found


def _warm(problem: Problem) -> ProjectAgent:
    agent = ProjectAgent(problem)
    generator = torch.Generator().manual_seed(8)
    moments = torch.zeros(2, agent.alpha.numel())
    for update in range(1, WARM_UP_UPDATES + 1):
        batches = [synthetic_batch(problem, generator) for _ in range(4)]
        gradient = agent.learn(batches)
        moments[0].lerp_(gradient, 0.1)
        moments[1].lerp_(gradient.square(), 0.001)
        mean, square = moments[0] / (1 - 0.9**update), moments[1] / (1 - 0.999**update)
        agent.alpha.sub_(1e-3 * mean / (square.sqrt() + 1e-8))  # Adam, as at the server
    return agent


@torch.no_grad()
def _copy(agent: ProjectAgent, problem: Problem) -> ProjectAgent:
    """The agent's parameters and objective in torch's default type and `problem`'s precision."""
    copy = ProjectAgent(problem)
    for name in ("phi", "theta", "phi_target", "theta_target"):
        getattr(copy.actor_critic, name).copy_(getattr(agent.actor_critic, name))
    copy.alpha.copy_(agent.alpha)
    return copy
