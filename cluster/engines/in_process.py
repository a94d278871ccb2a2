"""The engine in this process with its agents in cohorts: the same messages as on Ray."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from metagenrl.agents.member import MemberConfig
from metagenrl.agents.stacked_cohort import Computing
from metagenrl.cluster.engines.plan import COHORTS_STAY, Plan, cohort_of, results_of
from metagenrl.cluster.engines.interface import AgentLost, InProcessEngine, Lost, Result, Started
from metagenrl.objective_server.server import ObjectiveServer


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
