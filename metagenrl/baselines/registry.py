"""From a job to the agent that does it: where the algorithms are registered.

Each algorithm imports what it needs only when it is chosen: a process starts in a second or two,
and only those that train with RLlib load it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from metagenrl.agents.experience.rollout import Episode
from metagenrl.runs.agent_job import Rule, TraineeJob


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

    def evaluate(self, episodes: int, env_id: str) -> list[Episode]:
        """Undisturbed episodes of the deterministic policy; always the same initial states."""
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


def make_agent(job: TraineeJob) -> TrainedAgent:
    """The agent of a job, before its first step; raises what its algorithm's maker does."""
    return _MAKERS.get(job.objective.rule, _with_objective)(job)


def _with_objective(job: TraineeJob) -> TrainedAgent:
    from metagenrl.agents.trainee import Trainee, TraineeConfig
    from metagenrl.baselines.trainee_objective import objective_for

    config = TraineeConfig(job.env, job.seed, job.agent)
    return Trainee(config, objective_for(job.objective, job.agent, job.seed))


def _reinforce(job: TraineeJob) -> TrainedAgent:
    from metagenrl.baselines.reinforce import ReinforceAgent, ReinforceConfig

    return ReinforceAgent(ReinforceConfig(job.env, job.seed, job.agent, job.on_policy))


def _ppo(job: TraineeJob) -> TrainedAgent:
    from metagenrl.baselines.rllib.ppo import PpoAgent

    return PpoAgent(job)


def _rl2(job: TraineeJob) -> TrainedAgent:
    from metagenrl.baselines.rllib.rl2 import rl2_agent

    return rl2_agent(job)


def _epg(job: TraineeJob) -> TrainedAgent:
    from metagenrl.baselines.epg.meta_test import epg_agent

    return epg_agent(job)


_MAKERS: dict[Rule, Callable[[TraineeJob], TrainedAgent]] = {
    "reinforce": _reinforce,
    "ppo": _ppo,
    "rl2": _rl2,
    "epg": _epg,
}
"""Algorithms that are not an actor-critic with an objective of its own (`Trainee`)."""
