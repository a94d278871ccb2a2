"""The engine in this process with its agents in cohorts: the same messages as on Ray."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import Any

from metagenrl.agents.member import Member, MemberConfig
from metagenrl.agents.reports import trace_of
from metagenrl.agents.round import play
from metagenrl.agents.stacked_cohort import Computing
from metagenrl.base.process import settle
from metagenrl.cluster.engines.exchange import Exchange, Gradient, exchange
from metagenrl.cluster.engines.interface import AgentLost, Completed, Lost, Result, Started
from metagenrl.cluster.engines.plan import COHORTS_STAY, Plan, cohort_of, results_of
from metagenrl.objective_server.answers import Broadcast
from metagenrl.objective_server.server import ObjectiveServer


class InProcessEngine:
    """All agents in this process: notebooks, debugging."""

    def __init__(self, open_server: Callable[[], ObjectiveServer]) -> None:
        settle()  # as in an actor, so that both engines compute the same bits
        self._server = open_server()
        self._members: dict[int, Member] = {}
        self._pending: dict[int, Broadcast] = {}
        self._came_up: list[Started | Lost] = []

    def start_agent(
        self, config: MemberConfig, incarnation: int, state: dict[str, Any] | None
    ) -> None:
        """See `Engine`."""
        try:
            member = Member(config, incarnation)
            if state is not None:
                member.load_state_dict(state, incarnation)
        except Exception as error:
            self._came_up.append(Lost(config.index, repr(error), trace_of(error)))
            return
        self._members[config.index] = member
        self._came_up.append(Started(config.index))

    def make_room(self, agents: int) -> None:
        """See `Engine`; memory is the only limit here."""

    def started(self, timeout: float) -> list[Started | Lost]:
        """See `Engine`."""
        came_up, self._came_up = self._came_up, []
        return came_up

    def stop_agent(self, agent: int) -> None:
        """See `Engine`."""
        self._pending.pop(agent, None)
        member = self._members.pop(agent, None)
        if member is not None:
            member.close()

    def begin_round(self, agent: int, broadcast: Broadcast, ahead: bool) -> None:
        """See `Engine`; nobody would gain by anything done ahead."""
        self._pending[agent] = broadcast

    def poll(self, timeout: float, everyone: bool) -> list[Result]:
        """See `Engine`; a round that was begun is always finished.

        Agents of one environment that have the same broadcast go through it side by side.
        """
        results: list[Result] = []
        while self._pending and (everyone or not results):
            agents = self._alike() if everyone else [next(iter(self._pending))]
            broadcast = self._pending[agents[0]]
            for agent in agents:
                del self._pending[agent]
            results += self._run(agents, broadcast)
        return results

    def _alike(self) -> list[int]:
        """Agents that can play together with the first one that is to play."""
        first, broadcast = next(iter(self._pending.items()))
        env_id = self._members[first].config.env_id
        return [
            agent
            for agent, other in self._pending.items()
            if other is broadcast and self._members[agent].config.env_id == env_id
        ]

    def _run(self, agents: Sequence[int], broadcast: Broadcast) -> list[Completed | Lost]:
        members = [self._members[agent] for agent in agents]
        played = play(members, broadcast.alpha, broadcast.version, broadcast.round)
        results: list[Completed | Lost] = []
        for agent, result in zip(agents, played, strict=True):
            if isinstance(result, Exception):
                self.stop_agent(agent)
                results.append(Lost(agent, repr(result), trace_of(result)))
            else:
                results.append(Completed(agent, result))
        return results

    def agent_state(self, agent: int) -> dict[str, Any]:
        """See `Engine`."""
        if agent not in self._members:
            raise AgentLost(f"agent {agent} is not there")
        return self._members[agent].state_dict()

    def exchange(
        self, gradients: Sequence[Gradient], expected: Sequence[int], close: bool
    ) -> Exchange:
        """See `Engine`."""
        return exchange(self._server, gradients, expected, self._server.round, close)

    def server_state(self) -> dict[str, Any]:
        """See `Engine`."""
        return self._server.state_dict()

    def close(self) -> None:
        """See `Engine`."""
        for agent in list(self._members):
            self.stop_agent(agent)


class InProcessCohortEngine(InProcessEngine):
    """See `metagenrl.cluster.engines.interface.Engine`; one cohort of `plan` after the other."""

    def __init__(
        self, open_server: Callable[[], ObjectiveServer], plan: Plan, computing: Computing
    ) -> None:
        super().__init__(open_server)
        self._place = cohort_of(plan)
        self._cohorts = [computing.cohort() for _ in plan]
        self._there: set[int] = set()

    def start_agent(
        self, config: MemberConfig, incarnation: int, state: dict[str, Any] | None
    ) -> None:
        """See `Engine`."""
        try:
            self._cohorts[self._place[config.index]].add(config, incarnation, state)
        except Exception as error:
            self._came_up.append(Lost(config.index, repr(error), traceback.format_exc()))
            return
        self._there.add(config.index)
        self._came_up.append(Started(config.index))

    def make_room(self, agents: int) -> None:
        """See `Engine`; never."""
        raise ValueError(COHORTS_STAY)

    def stop_agent(self, agent: int) -> None:
        """See `Engine`."""
        self._pending.pop(agent, None)
        self._there.discard(agent)
        self._cohorts[self._place[agent]].remove(agent)

    def poll(self, timeout: float, everyone: bool) -> list[Result]:
        """See `Engine`; a round that was begun is always finished."""
        results: list[Result] = []
        while self._pending and (everyone or not results):
            place = self._place[next(iter(self._pending))]
            agents = [agent for agent in self._pending if self._place[agent] == place]
            b = self._pending[agents[0]]  # the population asks all of them for one round
            self._pending = {a: x for a, x in self._pending.items() if a not in agents}
            report = self._cohorts[place].round(agents, b.alpha, b.version, b.round, b.quarantined)
            self._there -= {failure.agent for failure in report.failures}
            results += results_of(report)
        return results

    def agent_state(self, agent: int) -> dict[str, Any]:
        """See `Engine`."""
        if agent not in self._there:
            raise AgentLost(f"agent {agent} is not there")
        return self._cohorts[self._place[agent]].state(agent)

    def close(self) -> None:
        """See `Engine`."""
        for agent in list(self._there):
            self.stop_agent(agent)
