"""Where agents and the objective server run: what every engine offers.

The population's loop is the same for both engines. Every call is bounded in time, and a failure
of an agent comes back as `Lost`, never as an exception out of the loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from metagenrl.agents.reports import MemberConfig, MemberReport
from metagenrl.base.memory import Memory
from metagenrl.base.messages import CohortGradient
from metagenrl.cluster.engines.exchange import Exchange, Gradient
from metagenrl.objective_server.answers import Broadcast

START_TIMEOUT = 300.0
"""Seconds until an actor or an agent must have come up: 40 take over a minute."""


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

    def memory(self) -> list[Memory]:
        """Of each machine that has agents or may have them, as far as it tells."""
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
        """Finished rounds: at least one, or all where `everyone`; fewer after `timeout` seconds."""
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
