"""Several members of one environment in one process, which answer together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

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

    A member computes exactly what it would compute alone in a process; only the gradients are put
    together, after each has been clipped on its own.
    """

    def __init__(self) -> None:
        self._members: dict[int, Member] = {}

    def add(self, config: MemberConfig, incarnation: int, state: dict[str, Any] | None) -> None:
        """Take in a member, new or from `state`. Raises what making the member raises."""
        self.remove(config.index)
        member = Member(config, incarnation)
        if state is not None:
            member.load_state_dict(state, incarnation)
        self._members[config.index] = member

    def remove(self, agent: int) -> None:
        """Let a member go; one that is not there is gone already."""
        member = self._members.pop(agent, None)
        if member is not None:
            member.close()

    def state(self, agent: int) -> dict[str, Any]:
        """A member's complete state. Raises `KeyError` where it is not there."""
        return self._members[agent].state_dict()

    def prepare(self, agents: Sequence[int]) -> None:
        """Do ahead what the next round of `agents` can do without alpha; see `Member.prepare`."""
        prepare([self._members[a] for a in agents if a in self._members])  # others are lost

    def round(
        self,
        agents: Sequence[int],
        alpha: Array,
        version: int,
        round_index: int,
        quarantined: Mapping[int, int],
    ) -> CohortReport:
        """One round of Algorithm 1 for each of `agents`, with the objective `alpha [P]`."""
        members = {a: self._members[a] for a in agents if a in self._members}
        results = play([*members.values()], alpha, version, round_index)
        failures = [Failure.of(a, KeyError(a)) for a in agents if a not in members]
        reports = []
        for agent, result in zip(members, results, strict=True):
            if isinstance(result, Exception):
                failures.append(Failure.of(agent, result))
                self._discard(agent)
            else:
                reports.append(result)
        return together(reports, failures, quarantined)

    def _discard(self, agent: int) -> None:
        """Drop a member that raised; its environment may not even close any more."""
        try:
            self.remove(agent)
        except Exception:
            self._members.pop(agent, None)
