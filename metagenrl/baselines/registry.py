"""From a job to the agent that does it; `BASELINES` says what makes it.

Each algorithm imports what it needs only when it is chosen: a process starts in a second or two,
and only those that train with RLlib load it.
"""

from __future__ import annotations

from pkgutil import resolve_name
from typing import Any, Protocol, runtime_checkable

from metagenrl.agents.experience.rollout import Episode
from metagenrl.base.messages import Array
from metagenrl.runs.agent_job import TraineeJob
from metagenrl.runs.config.baselines import BASELINES, Baseline


class TrainedAgent(Protocol):
    """An agent that trains alone, a step at a time."""

    steps: int

    @property
    def resumable(self) -> bool:
        """Whether `state_dict` is complete now."""
        ...

    def step(self) -> Episode | None:
        """One environment step and the updates that are due; the episode if it ended."""
        ...

    def evaluate(self, episodes: int, env_id: str, limit: int = ...) -> list[Episode]:
        """Undisturbed episodes of the deterministic policy; always the same initial states.

        Those of an environment without a time limit are cut after `limit` steps.
        """
        ...

    def close(self) -> None:
        """Free the environments."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that a process needs to go on."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        ...


@runtime_checkable
class LeavesPolicy(Protocol):
    """An agent whose policy is what a meta-test needs."""

    def policy_state(self) -> dict[str, Any]:
        """The policy, by itself."""
        ...


@runtime_checkable
class KeepsPolicy(Protocol):
    """An agent whose policy is a network that can be run by itself (see `policies.kept`)."""

    def policy_arrays(self) -> dict[str, Array]:
        """The network, by name."""
        ...


def make_agent(job: TraineeJob) -> TrainedAgent:
    """The agent of a job, before its first step; raises what its algorithm's maker does."""
    baseline = BASELINES.get(job.objective.rule, Baseline())  # type: ignore[arg-type]
    agent: TrainedAgent = resolve_name(f"metagenrl.baselines.{baseline.agent}")(job)
    return agent


def with_objective(job: TraineeJob) -> TrainedAgent:
    """The actor-critic of Algorithm 2 with the job's objective, learned or made by hand."""
    from metagenrl.agents.trainee import Trainee, TraineeConfig
    from metagenrl.baselines.trainee_objective import objective_for

    config = TraineeConfig(job.env, job.seed, job.agent)
    return Trainee(config, objective_for(job))
