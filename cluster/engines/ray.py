"""The engine on Ray: every cohort an actor, the server an actor, no unbounded wait.

An agent alone, the default, is a cohort of one.

Actors are not restarted by Ray, which would bring them back empty: the driver starts a new one
with the state to go on from. The server's actor stays on the driver's node, where the run's
folder is; when it dies, a new one opens the store, and the call that was under way is repeated,
which the server applies at most once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray import ObjectRef
from ray.exceptions import (
    GetTimeoutError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from metagenrl.agents.backend.choice import Computing
from metagenrl.agents.reports import MemberConfig
from metagenrl.cluster.engines.actors import CohortActor, RoundOrder
from metagenrl.cluster.engines.exchange import Exchange, Gradient
from metagenrl.cluster.engines.interface import START_TIMEOUT, AgentLost, Lost, Result, Started
from metagenrl.cluster.engines.losses import Losses
from metagenrl.cluster.engines.plan import COHORTS_STAY, Plan, Share, cohort_of, results_of
from metagenrl.cluster.engines.ray_cluster import actor_share, first_line, has_a_core, remote
from metagenrl.cluster.engines.server_actor import Closing, ServerActor
from metagenrl.objective_server.answers import Broadcast
from metagenrl.objective_server.server import ObjectiveServer

logger = logging.getLogger(__name__)

SERVER_LOST = (RayActorError, GetTimeoutError, OutOfMemoryError)  # what ends a call of a dead one
SERVER_TRIES = 20  # in a row, before the objective server is given up


class ServerUnreachable(RuntimeError):  # noqa: N818 - reads as the event it is
    """The objective server could not be brought back."""


@dataclass(eq=False)
class _Host:
    """An actor and what it was asked for."""

    handle: Any
    share: float  # of CPUs, reserved
    gone: bool = False
    asked: dict[int, bool] = field(default_factory=dict)  # agents of the next message; go ahead?


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
        self._open_server, self._share, self._timeout = open_server, share, timeout
        self._place = None if plan is None else cohort_of(plan)
        self._computing = computing
        self._cpus = share.cpus  # for an actor that is new
        self._shares: dict[int, float] = {}  # CPUs by place; a restarted actor has the same
        self._current: dict[int, _Host] = {}  # by place
        self._home: dict[int, _Host] = {}  # by agent; the host may be gone
        self._rounds: dict[ObjectRef[Any], tuple[_Host, list[int]]] = {}
        self._losses = Losses()
        self._starting: dict[ObjectRef[Any], int] = {}
        self._broadcasts: dict[int, Broadcast] = {}  # by agent, of the next message
        self._server: Any = None
        self._round, _ = self._start_server()

    def _start_server(self) -> tuple[int, int]:
        """Bring the server up: its open round and version. Raises what opening it raised.

        One that dies while it comes up is followed by another; `ServerUnreachable` in the end.
        """
        for _ in range(SERVER_TRIES):
            try:
                return self._try_server()
            except SERVER_LOST as error:
                reason = first_line(error)
                logger.warning("objective server did not come up (%s), trying again", reason)
                ray.kill(self._server)
        raise ServerUnreachable(f"objective server: {reason}")

    def _try_server(self) -> tuple[int, int]:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._server = (
            remote(ServerActor).options(scheduling_strategy=here).remote(self._open_server)
        )
        try:
            _, open_round, version = ray.get(self._server.ready.remote(), timeout=START_TIMEOUT)
        except RayTaskError as error:
            raise error.as_instanceof_cause() from None
        return int(open_round), int(version)

    def start_agent(
        self, config: MemberConfig, incarnation: int, state: dict[str, Any] | None
    ) -> None:
        """See `Engine`; actors are spread over the nodes, a cohort's first agent brings it up."""
        place = config.index if self._place is None else self._place[config.index]
        host = self._current.get(place)
        if host is None or host.gone:
            host = self._current[place] = self._new_host(place)
        self._home[config.index] = host
        self._starting[host.handle.add.remote(config, incarnation, state)] = config.index

    def _new_host(self, place: int) -> _Host:
        share = self._shares.setdefault(place, self._cpus)
        actor = remote(CohortActor).options(
            num_cpus=share, num_gpus=self._share.gpus, scheduling_strategy="SPREAD"
        )
        return _Host(actor.remote(self._computing), share)

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
        self._shares = {agent: self._shares[agent] for agent in self._home}
        free = cpus - sum(self._shares.values())
        newcomers = max(1, agents - len(self._home))
        self._cpus = max(0.0, min(1.0, int(free / newcomers * 1000) / 1000))

    def started(self, timeout: float) -> list[Started | Lost]:
        """See `Engine`."""
        refs = list(self._starting)
        if not refs:
            return []
        done, _ = ray.wait(refs, num_returns=len(refs), timeout=timeout)
        return [self._came_up(ref) for ref in done]

    def _came_up(self, ref: ObjectRef[Any]) -> Started | Lost:
        agent = self._starting.pop(ref)
        try:
            ray.get(ref, timeout=self._timeout)
        except RayError as error:
            return Lost(agent, self._losses.reason(error), str(error))
        return Started(agent)

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
        """See `Engine`; a cohort's agents are asked for in one message, which `poll` sends."""
        self._home[agent].asked[agent] = ahead
        self._broadcasts[agent] = broadcast
        if self._place is None:
            self._send(self._home[agent])

    def _send(self, host: _Host) -> None:
        asked, host.asked = host.asked, {}
        b = [self._broadcasts.pop(agent) for agent in asked][-1]
        own = has_a_core(host.share)
        ahead = tuple(agent for agent, more in asked.items() if more and own)
        order = RoundOrder(tuple(asked), b.alpha, b.version, b.round, b.quarantined, ahead)
        self._rounds[host.handle.round.remote(order)] = (host, list(asked))

    def poll(self, timeout: float, everyone: bool) -> list[Result]:
        """See `Engine`."""
        for host in {id(host): host for host in self._home.values() if host.asked}.values():
            self._send(host)
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

    def exchange(
        self, gradients: Sequence[Gradient], expected: Sequence[int], close: bool
    ) -> Exchange:
        """See `Engine`; the server is brought back and asked again where it died."""
        # Each gradient an argument of its own: together they would go through the object store.
        closing = Closing(tuple(expected), self._round, close)
        result: Exchange = self._ask("exchange", closing, *gradients)
        self._round = result.broadcast.round
        return result

    def server_state(self) -> dict[str, Any]:
        """See `Engine`."""
        state: dict[str, Any] = self._ask("state")
        return state

    def _ask(self, method: str, *arguments: Any) -> Any:
        for _ in range(SERVER_TRIES):
            try:
                return ray.get(
                    getattr(self._server, method).remote(*arguments), timeout=self._timeout
                )
            except RayTaskError as error:
                raise error.as_instanceof_cause() from None
            except SERVER_LOST as error:
                reason = first_line(error)
                logger.warning("objective server lost (%s), restoring it", reason)
                ray.kill(self._server)
                _, version = self._start_server()
                logger.warning("objective restored at version %d", version)
        raise ServerUnreachable(f"objective server: {reason}")

    def close(self) -> None:
        """See `Engine`; a Ray that this process did not start is left running."""
        for host in self._current.values():
            if not host.gone:
                self._end(host)
        self._home.clear()
        if self._server is not None:
            ray.kill(self._server)
