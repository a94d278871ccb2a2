"""A cohort of members as one Ray actor: a thin adapter."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import ray

from metagenrl.agents.backend.choice import Computing
from metagenrl.agents.cohort import Cohort
from metagenrl.agents.reports import CohortReport, MemberConfig
from metagenrl.base.process import settle
from metagenrl.learner.types import Array


class RoundOrder(NamedTuple):
    """What a cohort is asked for. One argument, because Ray takes time for each of a call's."""

    agents: tuple[int, ...]
    alpha: Array  # [P_alpha]
    version: int
    round: int
    quarantined: Mapping[int, int]  # agents, with the incarnation that it was imposed on
    ahead: tuple[int, ...]  # agents that then go on with what the next round can do without alpha


@ray.remote(max_restarts=0, max_task_retries=0)
class CohortActor:
    """Owns a cohort. It is never restarted by Ray: only the driver knows its agents' last states.

    The cohort works in a thread of its own, in the order of the calls, so that it can go on when
    a call has been answered. A call to Ray for that would cost more than it gains.
    """

    def __init__(self, computing: Computing) -> None:
        self._thread = ThreadPoolExecutor(1, initializer=settle)
        self._cohort = self._thread.submit(Cohort, computing).result()

    def add(self, config: MemberConfig, incarnation: int, state: dict[str, Any] | None) -> int:
        """Take in a member; the process's id once it is there."""
        self._thread.submit(self._cohort.add, config, incarnation, state).result()
        return os.getpid()

    def remove(self, agent: int) -> None:
        """Let a member go."""
        self._thread.submit(self._cohort.remove, agent).result()

    def round(self, order: RoundOrder) -> CohortReport:
        """One round of Algorithm 1 for each of the agents; then those `ahead` go on."""
        job = self._thread.submit(self._cohort.round, *order[:-1])
        report = job.result()
        if order.ahead:
            self._thread.submit(self._cohort.prepare, order.ahead)
        return report

    def state(self, agent: int) -> dict[str, Any]:
        """A member's complete state."""
        return self._thread.submit(self._cohort.state, agent).result()
