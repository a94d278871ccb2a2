"""The engine on Ray: every cohort an actor, the server an actor, no unbounded wait.

An agent alone, the default, is a cohort of one.

Actors are not restarted by Ray, which would bring them back empty: the driver starts a new one
with the state to go on from. Rounds and gradients go over lines of their own (`channel`); Ray
places the actors, starts and ends them, tells who died of what, and carries agents' states.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ray

from metagenrl.agents.backend.choice import Computing
from metagenrl.agents.reports import MemberConfig
from metagenrl.base.memory import Memory
from metagenrl.cluster.engines.actor_host import ActorHost
from metagenrl.cluster.engines.actors import AddOrder, CohortActor, RemoveOrder, StateOrder
from metagenrl.cluster.engines.channel import Raised
from metagenrl.cluster.engines.exchange import Exchange, Gradient
from metagenrl.cluster.engines.interface import AgentLost, Averaged, Lost, Result, Started
from metagenrl.cluster.engines.plan import COHORTS_STAY, Plan, Share, cohort_of
from metagenrl.cluster.engines.ray_cluster import actor_share, has_a_core, remote
from metagenrl.cluster.engines.server_link import ServerLink
from metagenrl.cluster.engines.switchboard import Switchboard
from metagenrl.cluster.joining.connect import address_for_actors
from metagenrl.cluster.joining.nodes import ask_nodes
from metagenrl.objective_server.answers import Broadcast
from metagenrl.objective_server.server import ObjectiveServer


class RayEngine:
    """See `metagenrl.cluster.engines.interface.Engine`.

    A member that raises is lost alone; with an actor that dies or hangs all of its members are
    lost, and each comes back from its own last checkpoint.
    """

    def __init__(
        self,
        open_server: Callable[[], ObjectiveServer],
        share: Share,
        timeout: float,
        plan: Plan | None,
        computing: Computing,
    ) -> None:
        """`plan` says which agents share an actor; None: each has its own."""
        self._share, self._timeout = share, timeout
        self._place = None if plan is None else cohort_of(plan)
        self._computing = computing
        self._cpus = share.cpus  # for an actor that is new
        self._shares: dict[int, float] = {}  # CPUs by place; a restarted actor has the same
        self._current: dict[int, ActorHost] = {}  # by place
        self._home: dict[int, ActorHost] = {}  # by agent; the host may be gone
        self._starting: set[int] = set()  # agents
        self._broadcasts: dict[int, Broadcast] = {}  # by agent, of the next message
        host = address_for_actors()
        self._switchboard = Switchboard(host, timeout)
        self._server = ServerLink(open_server, host, timeout)

    def start_agent(
        self, config: MemberConfig, incarnation: int, state: dict[str, Any] | None
    ) -> None:
        """See `Engine`; actors are spread over the nodes, a cohort's first agent brings it up."""
        place = config.index if self._place is None else self._place[config.index]
        host = self._current.get(place)
        if host is None or host.gone:
            host = self._current[place] = self._new_host(place)
        self._home[config.index] = host
        self._starting.add(config.index)
        self._switchboard.send(host, AddOrder(config, incarnation, state))

    def _new_host(self, place: int) -> ActorHost:
        share = self._shares.setdefault(place, self._cpus)
        actor = remote(CohortActor).options(
            num_cpus=share, num_gpus=self._share.gpus, scheduling_strategy="SPREAD"
        )
        return self._switchboard.engage(actor.remote(self._computing), share)

    def make_room(self, agents: int) -> None:
        """See `Engine`.

        Where the agents share the cluster's CPUs evenly, those that were there hold all of them:
        newcomers then reserve what nodes that joined since have to give, or nothing.
        """
        if self._place is not None:
            raise ValueError(COHORTS_STAY)
        cpus = float(ray.cluster_resources().get("CPU", 0.0))
        if self._share.fixed:
            actor_share(agents, self._cpus, cpus)
            return
        actor_share(agents, None, cpus)  # or the run could not be resumed with so many
        self._shares = {agent: self._shares[agent] for agent in self._home}
        free = cpus - sum(self._shares.values())
        newcomers = max(1, agents - len(self._home))
        self._cpus = max(0.0, min(1.0, int(free / newcomers * 1000) / 1000))

    def memory(self) -> list[Memory]:
        """See `Engine`; each node is asked, which takes seconds."""
        return [report.memory for report in ask_nodes(()) if report.memory is not None]

    def started(self, timeout: float) -> list[Started | Lost]:
        """See `Engine`."""
        if not self._starting:
            return []
        mail = self._switchboard.mail
        self._switchboard.hear_until(lambda: len(mail.came_up) >= len(self._starting), timeout)
        came_up, mail.came_up = mail.came_up, []
        found = [each for each in came_up if each.agent in self._starting]
        self._starting -= {each.agent for each in found}
        return found

    def stop_agent(self, agent: int) -> None:
        """See `Engine`; an actor that has not answered this agent is killed with all it hosts."""
        host = self._home.pop(agent, None)
        if host is None:
            return
        self._starting.discard(agent)
        self._switchboard.mail.forget(agent)
        host.asked.pop(agent, None)
        if host.gone:
            return
        if host.concerns(agent) or host not in self._home.values():
            self._switchboard.end(host)
        else:
            self._switchboard.send(host, RemoveOrder(agent))

    def begin_round(self, agent: int, broadcast: Broadcast, ahead: bool) -> None:
        """See `Engine`; a cohort's agents are asked for in one message, which `poll` sends."""
        self._home[agent].asked[agent] = ahead
        self._broadcasts[agent] = broadcast
        if self._place is None:
            self._send(self._home[agent])

    def _send(self, host: ActorHost) -> None:
        broadcast = [self._broadcasts.pop(agent) for agent in host.asked][-1]
        self._switchboard.send(host, host.round_order(broadcast, has_a_core(host.share)))

    def poll(self, timeout: float, everyone: bool) -> list[Result]:
        """See `Engine`."""
        for host in {id(host): host for host in self._home.values() if host.asked}.values():
            self._send(host)
        board, mail = self._switchboard, self._switchboard.mail

        def enough() -> bool:
            return not board.playing or (bool(mail.results) and not everyone)

        board.hear_until(enough, timeout)
        results, mail.results = mail.results, []
        found = [r for r in results if not isinstance(r, Lost) or r.agent in self._home]
        return sorted(found, key=_agent) if everyone else found

    def agent_state(self, agent: int) -> dict[str, Any]:
        """See `Engine`."""
        host, states = self._home.get(agent), self._switchboard.mail.states
        if host is None or host.gone:
            raise AgentLost(f"agent {agent} is not there")
        self._switchboard.send(host, StateOrder(agent))
        # An answer that was late the last time may come first.
        self._switchboard.hear_until(lambda: not host.asked_for_state(agent), self._timeout)
        found = None if host.asked_for_state(agent) else states.pop(agent, None)
        if isinstance(found, Raised):
            raise AgentLost(f"agent {agent}: {found.error!r}") from found.error
        if found is None:
            raise AgentLost(f"agent {agent}: {host.broken or 'no answer'}")
        state: dict[str, Any] = found
        return state

    def exchange(
        self, gradients: Sequence[Gradient], expected: Sequence[int], close: bool
    ) -> Exchange:
        """See `Engine`; the server is brought back and asked again where it died."""
        return self._server.exchange(gradients, expected, close)

    def server_state(self) -> dict[str, Any]:
        """See `Engine`."""
        return self._server.state()

    def close(self) -> None:
        """See `Engine`; a Ray that this process did not start is left running."""
        for host in self._current.values():
            if not host.gone:
                self._switchboard.end(host)
        self._home.clear()
        self._switchboard.close()
        self._server.close()


def _agent(result: Result) -> int:
    return result.gradient.agent if isinstance(result, Averaged) else result.agent
