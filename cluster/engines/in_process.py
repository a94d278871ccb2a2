"""The engine in this process: the same messages as on Ray."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import Any

from metagenrl.agents.backend.choice import Computing
from metagenrl.agents.cohort import Cohort, together
from metagenrl.agents.reports import MemberConfig
from metagenrl.base.checks import brief
from metagenrl.base.memory import Memory, memory_here
from metagenrl.base.process import settle
from metagenrl.cluster.engines.exchange import Exchange, Gradient, exchange
from metagenrl.cluster.engines.interface import AgentLost, Lost, Result, Started
from metagenrl.cluster.engines.plan import COHORTS_STAY, Plan, cohort_of, results_of
from metagenrl.objective_server.answers import Broadcast
from metagenrl.objective_server.server import ObjectiveServer


class InProcessEngine:
    """See `metagenrl.cluster.engines.interface.Engine`: for notebooks, debugging, small machines.

    The agents of one environment are computed together in any case. `plan` says which of them
    answer in one message; None: each in a message of its own, as with an actor for each.
    """

    def __init__(
        self, open_server: Callable[[], ObjectiveServer], plan: Plan | None, computing: Computing
    ) -> None:
        settle()  # as in an actor, so that both engines compute the same bits
        self._server = open_server()
        self._place = None if plan is None else cohort_of(plan)
        self._computing = computing
        self._cohorts: dict[str | int, Cohort] = {}
        self._home: dict[int, str | int] = {}  # an agent's cohort
        self._pending: dict[int, Broadcast] = {}
        self._came_up: list[Started | Lost] = []

    def start_agent(
        self, config: MemberConfig, incarnation: int, state: dict[str, Any] | None
    ) -> None:
        home = config.env_id if self._place is None else self._place[config.index]
        try:
            if home not in self._cohorts:
                self._cohorts[home] = Cohort(self._computing)
            self._cohorts[home].add(config, incarnation, state)
        except Exception as error:
            self._came_up.append(Lost(config.index, brief(error, 400), traceback.format_exc()))
            return
        self._home[config.index] = home
        self._came_up.append(Started(config.index))

    def make_room(self, agents: int) -> None:
        """See `Engine`; only cohorts stay as they are."""
        if self._place is not None:
            raise ValueError(COHORTS_STAY)

    def memory(self) -> list[Memory]:
        """See `Engine`."""
        return [memory_here()]

    def started(self, timeout: float) -> list[Started | Lost]:
        came_up, self._came_up = self._came_up, []
        return came_up

    def stop_agent(self, agent: int) -> None:
        self._pending.pop(agent, None)
        home = self._home.pop(agent, None)
        if home is not None:
            self._cohorts[home].remove(agent)

    def begin_round(self, agent: int, broadcast: Broadcast, ahead: bool) -> None:
        """See `Engine`; nobody would gain by anything done ahead."""
        self._pending[agent] = broadcast

    def poll(self, timeout: float, everyone: bool) -> list[Result]:
        """See `Engine`; a round that was begun is always finished."""
        results: list[Result] = []
        while self._pending and (everyone or not results):
            first, broadcast = next(iter(self._pending.items()))
            agents = [first]
            if everyone or self._place is not None:
                agents = [agent for agent in self._pending if self._goes_with(first, agent)]
            for agent in agents:
                del self._pending[agent]
            results += self._play(agents, broadcast)
        return results

    def _goes_with(self, first: int, other: int) -> bool:
        """Whether both play in one cohort, with one broadcast."""
        same = self._pending[first] is self._pending[other]
        return same and self._home[first] == self._home[other]

    def _play(self, agents: Sequence[int], b: Broadcast) -> list[Result]:
        cohort = self._cohorts[self._home[agents[0]]]
        reports, failures = cohort.play(agents, b.alpha, b.version, b.round)
        for failure in failures:
            self._home.pop(failure.agent, None)
        speakers = [reports] if self._place is not None else [[report] for report in reports]
        answers = [together(each, [], b.quarantined) for each in speakers]
        lost = [Lost(failure.agent, failure.reason, failure.detail) for failure in failures]
        return [result for answer in answers for result in results_of(answer)] + lost

    def agent_state(self, agent: int) -> dict[str, Any]:
        if agent not in self._home:
            raise AgentLost(f"agent {agent} is not there")
        return self._cohorts[self._home[agent]].state(agent)

    def exchange(
        self, gradients: Sequence[Gradient], expected: Sequence[int], close: bool
    ) -> Exchange:
        return exchange(self._server, gradients, expected, self._server.round, close)

    def server_state(self) -> dict[str, Any]:
        return self._server.state_dict()

    def close(self) -> None:
        for agent in list(self._home):
            self.stop_agent(agent)
