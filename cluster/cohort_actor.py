"""A cohort of members as one Ray actor: a thin adapter."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from metagenrl.agents.cohort import Cohort, CohortReport
from metagenrl.agents.member import MemberConfig
from metagenrl.learner.process import settle
from metagenrl.learner.types import Array


@ray.remote(max_restarts=0, max_task_retries=0)
class CohortActor:
    """Owns a `Cohort`. Like `AgentActor` it is never restarted by Ray."""

    def __init__(self) -> None:
        settle()
        self._cohort = Cohort()

    def add(self, config: MemberConfig, incarnation: int, state: dict[str, Any] | None) -> int:
        """Take in a member; the process's id once it is there."""
        self._cohort.add(config, incarnation, state)
        return os.getpid()

    def remove(self, agent: int) -> None:
        """Let a member go."""
        self._cohort.remove(agent)

    def round(
        self,
        agents: Sequence[int],
        alpha: Array,
        version: int,
        round_index: int,
        quarantined: Mapping[int, int],
    ) -> CohortReport:
        """One round of Algorithm 1 for each of `agents`."""
        return self._cohort.round(agents, alpha, version, round_index, quarantined)

    @ray.method(num_returns=0)
    def prepare(self, agents: Sequence[int]) -> None:
        """What the next round of `agents` can do without alpha; nobody waits for it."""
        self._cohort.prepare(agents)

    def state(self, agent: int) -> dict[str, Any]:
        """A member's complete state."""
        return self._cohort.state(agent)
