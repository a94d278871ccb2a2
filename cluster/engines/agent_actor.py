"""A member of the population as a Ray actor: a thin adapter."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import ray

from metagenrl.agents.member import Member, MemberConfig, MemberReport
from metagenrl.base.process import settle
from metagenrl.learner.types import Array


class RoundOrder(NamedTuple):
    """What an actor is asked for. One argument, because Ray takes time for each of a call's."""

    alpha: Array  # [P_alpha]
    version: int
    round: int
    ahead: bool  # then on with what the next round can do without alpha


@ray.remote(max_restarts=0, max_task_retries=0)
class AgentActor:
    """Owns one `Member`. It is never restarted by Ray: only the driver knows its last state.

    The member works in a thread of its own, in the order of the calls, so that it can go on when
    a call has been answered. A call to Ray for that would cost more than it gains.
    """

    def __init__(
        self, config: MemberConfig, incarnation: int, state: dict[str, Any] | None
    ) -> None:
        self._thread = ThreadPoolExecutor(1, initializer=settle)
        self._member = self._thread.submit(Member, config, incarnation).result()
        if state is not None:
            self._thread.submit(self._member.load_state_dict, state, incarnation).result()

    def ready(self) -> int:
        """The process's id, once the member is there."""
        return os.getpid()

    def round(self, order: RoundOrder) -> MemberReport:
        """One round of Algorithm 1."""
        job = self._thread.submit(self._member.round, order.alpha, order.version, order.round)
        report = job.result()
        if order.ahead:
            self._thread.submit(self._member.prepare)
        return report

    def state(self) -> dict[str, Any]:
        """The member's complete state."""
        return self._thread.submit(self._member.state_dict).result()
