"""Agent-steps in a real environment: acting, stepping, replay and every update."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from benchmarks.agreement import carry_over
from benchmarks.problem import Problem
from benchmarks.project import ProjectAgent
from benchmarks.reference import PlainAgent
from metagenrl.agents.cohort import Cohort
from metagenrl.agents.experience.rollout import Rollout
from metagenrl.agents.reports import MemberConfig
from metagenrl.agents.seeding import agent_seeds
from metagenrl.learner.hyperparams import AgentConfig


def _past_the_random_steps(problem: Problem) -> AgentConfig:
    """The agent acts by its policy as soon as it learns, as in all but the first steps."""
    return replace(problem.agent, random_steps=problem.agent.learning_starts)


def project_rounds(problem: Problem) -> Callable[[], object]:
    """`Cohort.round` of a member whose buffer is filled: `policy_delay` agent-steps a call."""
    config = MemberConfig(
        "benchmark", 0, 0, problem.env_id, 0, _past_the_random_steps(problem),
        problem.meta, problem.objective,
    )  # fmt: skip
    cohort = Cohort()
    cohort.add(config, 0, None)
    alpha = ProjectAgent(problem).alpha.numpy()
    while cohort.round([0], alpha, 0, 0, {}).gradient is None:
        pass
    return lambda: cohort.round([0], alpha, 0, 0, {})


def reference_rounds(problem: Problem) -> Callable[[], object]:
    """The same of the plain agent, with the project's environment and replay buffer."""
    agent = _past_the_random_steps(problem)
    plain = PlainAgent(problem)
    carry_over(ProjectAgent(problem), plain)
    rollout = Rollout(problem.env_id, agent, agent_seeds(0, 0, 0))
    while len(rollout.buffer) < agent.learning_starts:
        rollout.step(plain.act)

    def play() -> object:
        for _ in range(agent.policy_delay):
            rollout.step(plain.act)
            plain.update_critic(rollout.sample(agent.batch_size).batch())
        own = rollout.sample(agent.batch_size).batch()
        return plain.update_policy_and_objective(
            own, *rollout.sample(2 * agent.batch_size).split(2)
        )

    return play
