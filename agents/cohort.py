"""Members of one environment in one process, which compute together and answer together."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from metagenrl.agents.backend.choice import Computing, choose
from metagenrl.agents.backend.interface import Backend
from metagenrl.agents.environment.environment import require_sizes
from metagenrl.agents.member import Member
from metagenrl.agents.reports import CohortReport, Failure, MemberConfig, MemberReport
from metagenrl.agents.round import play, prepare
from metagenrl.base.messages import AlphaGradient, average
from metagenrl.learner.types import Array


def together(
    reports: Sequence[MemberReport], failures: Sequence[Failure], quarantined: Mapping[int, int]
) -> CohortReport:
    """A round's answer: one message for the gradients of all reports."""
    gradients = [r.gradient for r in reports if isinstance(r.gradient, AlphaGradient)]
    mean = average(gradients, quarantined) if gradients else None
    shares = {share.agent: share for share in mean.shares} if mean else {}
    return CohortReport(
        tuple(replace(report, gradient=shares.get(report.agent)) for report in reports),
        tuple(failures),
        mean,
    )


class Cohort:
    """Members by their numbers. Each has its own environment, networks, buffer and streams.

    All have the same environment and configuration. An agent alone is a cohort of one.
    """

    def __init__(self, computing: Computing | None = None) -> None:
        self._computing = computing or Computing()
        self._make_environment = self._computing.environments()
        self.members: dict[int, Member] = {}
        self.backend: Backend | None = None  # from the first round on

    def add(self, config: MemberConfig, incarnation: int, state: dict[str, Any] | None) -> None:
        """Take in a member, new or from `state`. Raises what making the member raises."""
        self.remove(config.index)
        member = Member(config, incarnation, self._make_environment)
        for other in self.members.values():
            require_sizes(member.rollout.environment, other.sizes)
        if state is not None:
            member.load_state_dict(state, incarnation)
        self.members[config.index] = member

    def remove(self, agent: int) -> None:
        """Let a member go; one that is not there is gone already."""
        member = self.members.pop(agent, None)
        if member is not None:
            member.close()

    def state(self, agent: int) -> dict[str, Any]:
        """A member's complete state. Raises `KeyError` where it is not there."""
        return self.members[agent].state_dict(self.backend)

    def prepare(self, agents: Sequence[int]) -> None:
        """Do ahead what the next round of `agents` can do without alpha."""
        if self.backend is not None:
            prepare(self.backend, [self.members[a] for a in agents if a in self.members])

    def play(
        self, agents: Sequence[int], alpha: Array, version: int, round_index: int
    ) -> tuple[list[MemberReport], list[Failure]]:
        """One round of Algorithm 1 for each of `agents`, with the objective `alpha [P]`."""
        failures = [Failure.of(a, KeyError(a)) for a in agents if a not in self.members]
        members = [self.members[agent] for agent in agents if agent in self.members]
        reports: list[MemberReport] = []
        if not members:
            return reports, failures
        results = play(self._seated(), members, alpha, version, round_index)
        for member, result in zip(members, results, strict=True):
            if isinstance(result, Exception):
                failures.append(Failure.of(member.config.index, result))
                self._discard(member.config.index)
            else:
                reports.append(result)
        return reports, failures

    def round(
        self,
        agents: Sequence[int],
        alpha: Array,
        version: int,
        round_index: int,
        quarantined: Mapping[int, int],
    ) -> CohortReport:
        """`play`, with one message for the gradients of all."""
        return together(*self.play(agents, alpha, version, round_index), quarantined)

    def _seated(self) -> Backend:
        """The backend, with room for all members and what is new of them."""
        if self.backend is None or len(self.members) > self.backend.slots:
            self.backend = self._enlarged()
        taken = {member.slot for member in self.members.values()}
        free = iter(slot for slot in range(len(self.members)) if slot not in taken)
        for agent in sorted(self.members):
            member = self.members[agent]
            if member.slot < 0:
                member.slot = next(free)
            member.take_seat(self.backend)
        return self.backend

    def _enlarged(self) -> Backend:
        """A backend with room for all; those that had a seat on the old one are to get another."""
        for member in self.members.values():
            if member.slot >= 0 and member.waiting is None and self.backend is not None:
                member.waiting = self.backend.networks(member.slot)
            member.slot = -1
        first = next(iter(self.members.values()))
        c = first.config
        return choose(self._computing, c.agent, c.meta, c.objective, first.sizes, len(self.members))

    def _discard(self, agent: int) -> None:
        """Drop a member that raised; its environment may not even close any more."""
        with contextlib.suppress(Exception):
            self.remove(agent)
