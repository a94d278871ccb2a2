"""A cohort of members as one Ray actor: a thin adapter."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray
from metagenrl.agents.cohort import CohortReport
from metagenrl.agents.member import MemberConfig
from metagenrl.agents.stacked_cohort import Computing
from metagenrl.learner.process import settle
from metagenrl.learner.types import Array


@ray.remote(max_restarts=0, max_task_retries=0)
class CohortActor:
    """Owns a cohort, which works in a thread of its own. Like `AgentActor` in all of this."""

    def __init__(self, computing: Computing) -> None:
        self._thread = ThreadPoolExecutor(1, initializer=settle)
        self._cohort = self._thread.submit(computing.cohort).result()

    def add(self, config: MemberConfig, incarnation: int, state: dict[str, Any] | None) -> int:
        """Take in a member; the process's id once it is there."""
        self._thread.submit(self._cohort.add, config, incarnation, state).result()
        return os.getpid()

    def remove(self, agent: int) -> None:
        """Let a member go."""
        self._thread.submit(self._cohort.remove, agent).result()

    def round(
        self,
        agents: Sequence[int],
        alpha: Array,
        version: int,
        round_index: int,
        quarantined: Mapping[int, int],
        ahead: Sequence[int],
    ) -> CohortReport:
        """One round of Algorithm 1 for each of `agents`; then those `ahead` go on, see there."""
        job = self._thread.submit(
            self._cohort.round, agents, alpha, version, round_index, quarantined
        )
        report = job.result()
        self._thread.submit(self._cohort.prepare, ahead)
        return report

    def state(self, agent: int) -> dict[str, Any]:
        """A member's complete state."""
        return self._thread.submit(self._cohort.state, agent).result()
