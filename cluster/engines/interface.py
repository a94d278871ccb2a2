"""Where agents and the objective server run: the interface, and the engine in this process.

The population's loop is the same for both engines. Every call is bounded in time, and a failure
of an agent comes back as `Lost`, never as an exception out of the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from metagenrl.agents.cohort import trace_of
from metagenrl.agents.member import Member, MemberConfig, MemberReport
from metagenrl.agents.round import play
from metagenrl.cluster.engines.exchange import Exchange, Gradient, exchange
from metagenrl.base.messages import CohortGradient
from metagenrl.base.process import settle
from metagenrl.objective_server.answers import Broadcast
from metagenrl.objective_server.server import ObjectiveServer


@dataclass(frozen=True)
class Started:
    """An agent came up."""

    agent: int


@dataclass(frozen=True)
class Completed:
    """An agent finished the round it was given."""

    agent: int
    report: MemberReport


@dataclass(frozen=True)
class Averaged:
    """The gradient of all agents of a cohort that finished their rounds together."""

    gradient: CohortGradient


@dataclass(frozen=True)
class Lost:
    """An agent is gone: its process died, it raised, or it hung."""

    agent: int
    reason: str  # one line
    detail: str = ""  # the original traceback where there is one


Result = Completed | Averaged | Lost


class AgentLost(RuntimeError):  # noqa: N818 - reads as the event it is
    """An agent could not be asked for its state."""


class Engine(Protocol):
    """Agents and server behind calls that return in bounded time."""

    def start_agent(
        self, config: MemberConfig, incarnation: int, state: dict[str, Any] | None
    ) -> None:
        """Begin to bring agent `config.index` up, from `state` if given; see `started`."""
        ...

    def make_room(self, agents: int) -> None:
        """Prepare for a population of that size. Raises `ValueError`: so many fit."""
        ...

    def started(self, timeout: float) -> list[Started | Lost]:
        """Agents that came up, or failed to, since the last call; all unless `timeout` passes."""
        ...

    def stop_agent(self, agent: int) -> None:
        """End an agent; what it was doing is forgotten."""
        ...

    def begin_round(self, agent: int, broadcast: Broadcast, ahead: bool) -> None:
        """Let an idle agent compute its next round.

        `ahead`: another one follows, and what that can do without alpha may be done before it is
        asked for. Nothing that is computed depends on it.
        """
        ...

    def poll(self, timeout: float, everyone: bool) -> list[Result]:
        """What finished: at least one result, or all where `everyone`, or what `timeout` gave."""
        ...

    def agent_state(self, agent: int) -> dict[str, Any]:
        """An idle agent's complete state. Raises `AgentLost`."""
        ...

    def exchange(
        self, gradients: Sequence[Gradient], expected: Sequence[int], close: bool
    ) -> Exchange:
        """Submit gradients; close the open round if `close`, or if a quorum is there."""
        ...

    def server_state(self) -> dict[str, Any]:
        """The server's complete state."""
        ...

    def close(self) -> None:
        """End every process that the engine started."""
        ...


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
