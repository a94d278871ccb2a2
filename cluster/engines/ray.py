"""The engine on Ray: every agent an actor, the server an actor, no unbounded wait.

Actors are not restarted by Ray, which would bring them back empty: the driver starts a new one
with the state to go on from. The server's actor stays on the driver's node, where the run's
folder is; when it dies, a new one opens the store, and the call that was under way is repeated,
which the server applies at most once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
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

from metagenrl.agents.member import MemberConfig
from metagenrl.cluster.engines.agent_actor import AgentActor, RoundOrder
from metagenrl.cluster.engines.exchange import Exchange, Gradient
from metagenrl.cluster.engines.interface import (
    AgentLost,
    Completed,
    Lost,
    Result,
    Started,
)
from metagenrl.cluster.engines.losses import Losses
from metagenrl.cluster.engines.ray_cluster import actor_share, first_line, has_a_core, remote
from metagenrl.cluster.engines.server_actor import Closing, ServerActor
from metagenrl.objective_server.answers import Broadcast
from metagenrl.objective_server.server import ObjectiveServer

logger = logging.getLogger(__name__)

SERVER_LOST = (RayActorError, GetTimeoutError, OutOfMemoryError)  # what ends a call of a dead one
SERVER_TRIES = 20  # in a row, before the objective server is given up
START_TIMEOUT = 300.0  # seconds until an actor must have come up: 40 take over a minute


class ServerUnreachable(RuntimeError):  # noqa: N818 - reads as the event it is
    """The objective server could not be brought back."""


class RayEngine:
    """See `metagenrl.cluster.engines.interface.Engine`."""

    def __init__(
        self,
        open_server: Callable[[], ObjectiveServer],
        agent_cpus: float,
        timeout: float,
        fixed: bool,
    ) -> None:
        """`agent_cpus` is reserved for an agent; `fixed`: for those that join later as well."""
        self._open_server, self._agent_cpus, self._timeout = open_server, agent_cpus, timeout
        self._fixed = fixed
        self._losses = Losses()
        self._shares: dict[int, float] = {}  # CPUs by agent; a restarted one has the same
        self._agents: dict[int, Any] = {}
        self._pending: dict[ObjectRef[Any], int] = {}
        self._starting: dict[ObjectRef[Any], int] = {}
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
        """See `Engine`; agents are spread over the nodes."""
        share = self._shares.setdefault(config.index, self._agent_cpus)
        actor = remote(AgentActor).options(num_cpus=share, scheduling_strategy="SPREAD")
        handle = actor.remote(config, incarnation, state)
        self._agents[config.index] = handle
        self._starting[handle.ready.remote()] = config.index

    def make_room(self, agents: int) -> None:
        """See `Engine`.

        Where the agents share the cluster's CPUs evenly, those that were there hold all of them:
        newcomers then reserve what nodes that joined since have to give, or nothing.
        """
        cpus = float(ray.cluster_resources().get("CPU", 0.0))
        if self._fixed:
            actor_share(agents, self._agent_cpus, cpus)
            return
        free = cpus - sum(self._shares[agent] for agent in self._agents)
        newcomers = max(1, agents - len(self._agents))
        self._agent_cpus = max(0.0, min(1.0, int(free / newcomers * 1000) / 1000))
        self._shares = {agent: self._shares[agent] for agent in self._agents}

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
        """See `Engine`."""
        actor = self._agents.pop(agent, None)
        if actor is not None:
            ray.kill(actor)
        self._pending = {ref: a for ref, a in self._pending.items() if a != agent}
        self._starting = {ref: a for ref, a in self._starting.items() if a != agent}

    def begin_round(self, agent: int, broadcast: Broadcast, ahead: bool) -> None:
        """See `Engine`."""
        b, actor = broadcast, self._agents[agent]
        ahead = ahead and has_a_core(self._shares[agent])
        self._pending[actor.round.remote(RoundOrder(b.alpha, b.version, b.round, ahead))] = agent

    def poll(self, timeout: float, everyone: bool) -> list[Result]:
        """See `Engine`."""
        refs = list(self._pending)
        if not refs:
            return []
        done, _ = ray.wait(refs, num_returns=len(refs) if everyone else 1, timeout=timeout)
        return [self._result(ref) for ref in done]

    def _result(self, ref: ObjectRef[Any]) -> Completed | Lost:
        agent = self._pending.pop(ref)
        try:
            return Completed(agent, ray.get(ref, timeout=self._timeout))
        except RayTaskError as error:
            return Lost(agent, repr(error.cause), str(error))
        except RayActorError as error:
            return Lost(agent, self._losses.reason(error), str(error))
        except RayError as error:
            return Lost(agent, self._losses.reason(error))

    def agent_state(self, agent: int) -> dict[str, Any]:
        """See `Engine`."""
        if agent not in self._agents:
            raise AgentLost(f"agent {agent} is not there")
        try:
            state: dict[str, Any] = ray.get(
                self._agents[agent].state.remote(), timeout=self._timeout
            )
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
        for agent in list(self._agents):
            self.stop_agent(agent)
        if self._server is not None:
            ray.kill(self._server)
