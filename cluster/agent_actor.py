"""A member of the population as a Ray actor: a thin adapter."""

from __future__ import annotations

import os
from typing import Any

import ray
from metagenrl.agents.member import Member, MemberConfig, MemberReport
from metagenrl.learner.process import settle
from metagenrl.learner.types import Array


@ray.remote(max_restarts=0, max_task_retries=0)
class AgentActor:
    """Owns one `Member`. It is never restarted by Ray: only the driver knows its last state."""

    def __init__(
        self, config: MemberConfig, incarnation: int, state: dict[str, Any] | None
    ) -> None:
        settle()
        self._member = Member(config, incarnation)
        if state is not None:
            self._member.load_state_dict(state, incarnation)

    def ready(self) -> int:
        """The process's id, once the member is there."""
        return os.getpid()

    def round(self, alpha: Array, version: int, round_index: int) -> MemberReport:
        """One round of Algorithm 1."""
        return self._member.round(alpha, version, round_index)

    @ray.method(num_returns=0)
    def prepare(self) -> None:
        """What the next round can do without alpha; nobody waits for it."""
        self._member.prepare()

    def state(self) -> dict[str, Any]:
        """The member's complete state."""
        return self._member.state_dict()
