"""The engine on Ray with its agents in cohorts: an actor, and one message a round, for each.

Same interface and failure policy as the engine for single agents. A member that raises is lost
alone; with an actor that dies or hangs all of its members are lost, and each comes back from its
own last checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ray
from ray import ObjectRef
from ray.exceptions import RayActorError, RayError, RayTaskError

from metagenrl.agents.member import MemberConfig
from metagenrl.agents.stacked_cohort import Computing
from metagenrl.cluster.engines.actors import CohortActor, CohortOrder
from metagenrl.cluster.engines.interface import AgentLost, Lost, Result
from metagenrl.cluster.engines.plan import COHORTS_STAY, Plan, cohort_of, results_of
from metagenrl.cluster.engines.ray import RayEngine
from metagenrl.cluster.engines.ray_cluster import first_line, has_a_core, remote
from metagenrl.objective_server.answers import Broadcast
from metagenrl.objective_server.server import ObjectiveServer


@dataclass(eq=False)
class _Host:
    """An actor and the agents it is busy with."""

    handle: Any
    gone: bool = False
    asked: dict[int, bool] = field(default_factory=dict)  # of the round to be sent: go on ahead?


class RayCohortEngine(RayEngine):
    """See `metagenrl.cluster.engines.interface.Engine`; every cohort of `plan` is an actor."""

    def __init__(
        self,
        open_server: Callable[[], ObjectiveServer],
        actor_cpus: float,
        timeout: float,
        plan: Plan,
        computing: Computing,
        actor_gpus: float,
    ) -> None:
        super().__init__(open_server, actor_cpus, timeout, fixed=True)
        self._computing, self._actor_gpus = computing, actor_gpus
        self._place = cohort_of(plan)
        self._current: dict[int, _Host] = {}  # by place in the plan
        self._home: dict[int, _Host] = {}  # by agent; the host may be gone
        self._rounds: dict[ObjectRef[Any], tuple[_Host, list[int]]] = {}
        self._broadcast: Broadcast | None = None

    def start_agent(
        self, config: MemberConfig, incarnation: int, state: dict[str, Any] | None
    ) -> None:
        """See `Engine`; the first agent of a cohort brings its actor up."""
        place = self._place[config.index]
        host = self._current.get(place)
        if host is None or host.gone:
            options = {"num_cpus": self._agent_cpus, "num_gpus": self._actor_gpus}
            actor = remote(CohortActor).options(**options, scheduling_strategy="SPREAD")
            host = self._current[place] = _Host(actor.remote(self._computing))
        self._home[config.index] = host
        self._starting[host.handle.add.remote(config, incarnation, state)] = config.index

    def make_room(self, agents: int) -> None:
        """See `Engine`; never."""
        raise ValueError(COHORTS_STAY)

    def stop_agent(self, agent: int) -> None:
        """See `Engine`; an actor that has not answered this agent is killed with all it hosts."""
        host = self._home.pop(agent, None)
        if host is None:
            return
        unanswered = agent in self._starting.values() or any(
            owner is host and agent in agents for owner, agents in self._rounds.values()
        )
        self._starting = {ref: a for ref, a in self._starting.items() if a != agent}
        host.asked.pop(agent, None)
        if host.gone:
            return
        if unanswered or host not in self._home.values():
            self._end(host)
        else:
            host.handle.remove.remote(agent)

    def _end(self, host: _Host) -> None:
        host.gone = True
        ray.kill(host.handle)
        self._rounds = {ref: item for ref, item in self._rounds.items() if item[0] is not host}

    def begin_round(self, agent: int, broadcast: Broadcast, ahead: bool) -> None:
        """See `Engine`; `poll` sends what was asked of a cohort in one message."""
        self._home[agent].asked[agent] = ahead
        self._broadcast = broadcast

    def _send(self) -> None:
        b = self._broadcast
        for host in {id(host): host for host in self._home.values() if host.asked}.values():
            assert b is not None
            asked, host.asked = host.asked, {}
            own = has_a_core(self._agent_cpus)
            ahead = tuple(agent for agent, more in asked.items() if more and own)
            order = CohortOrder(tuple(asked), b.alpha, b.version, b.round, b.quarantined, ahead)
            self._rounds[host.handle.round.remote(order)] = (host, list(asked))

    def poll(self, timeout: float, everyone: bool) -> list[Result]:
        """See `Engine`."""
        self._send()
        refs = list(self._rounds)
        if not refs:
            return []
        done, _ = ray.wait(refs, num_returns=len(refs) if everyone else 1, timeout=timeout)
        return [result for ref in done for result in self._answer(ref)]

    def _answer(self, ref: ObjectRef[Any]) -> list[Result]:
        host, agents = self._rounds.pop(ref)
        try:
            return results_of(ray.get(ref, timeout=self._timeout))
        except RayTaskError as error:
            reason, detail = repr(error.cause), str(error)
        except RayError as error:
            reason = self._losses.reason(error)
            detail = str(error) if isinstance(error, RayActorError) else ""
        host.gone = True
        ray.kill(host.handle)
        return [Lost(agent, reason, detail) for agent in agents if agent in self._home]

    def agent_state(self, agent: int) -> dict[str, Any]:
        """See `Engine`."""
        if agent not in self._home:
            raise AgentLost(f"agent {agent} is not there")
        try:
            call = self._home[agent].handle.state.remote(agent)
            state: dict[str, Any] = ray.get(call, timeout=self._timeout)
        except RayError as error:
            raise AgentLost(f"agent {agent}: {first_line(error)}") from error
        return state

    def close(self) -> None:
        """See `Engine`."""
        for host in self._current.values():
            if not host.gone:
                self._end(host)
        self._home.clear()
        super().close()
