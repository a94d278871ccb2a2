"""A cohort of members as one Ray actor: a thin adapter."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from metagenrl.agents.cohort import CohortReport
from metagenrl.agents.member import MemberConfig
from metagenrl.agents.stacked_cohort import Computing
from metagenrl.learner.process import settle
from metagenrl.learner.types import Array


@ray.remote(max_restarts=0, max_task_retries=0)
class CohortActor:
    """Owns a cohort. Like `AgentActor` it is never restarted by Ray."""

    def __init__(self, computing: Computing) -> None:
        settle()
        self._cohort = computing.cohort()

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

    def state(self, agent: int) -> dict[str, Any]:
        """A member's complete state."""
        return self._cohort.state(agent)
