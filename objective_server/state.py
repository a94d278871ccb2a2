"""The server's state as one immutable value, so that it changes all together or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from metagenrl.base.checks import require
from metagenrl.objective_server.adam import Adam, CosineDecay
from metagenrl.objective_server.agent_table import agents_of, table_of
from metagenrl.objective_server.aggregate import Array
from metagenrl.objective_server.answers import AgentCounters, AgentRecord, Totals
from metagenrl.objective_server.open_round import Key, Pending
from metagenrl.objective_server.seen import SeenGradients

FORMATS = (1, 2)  # that are read; the last one is written


@dataclass(frozen=True, eq=False)
class ServerState:
    """Everything the server is. `to_dict` and `from_dict` keep it to the bit."""

    run: str
    alpha: Array  # [P_alpha], read-only
    adam: Adam
    version: int  # rounds applied
    round: int  # the open round; also counts rounds in which nothing was accepted
    agents: Mapping[int, AgentRecord] = field(default_factory=dict)
    pending: Mapping[int, Pending] = field(default_factory=dict)  # by first agent
    in_round: Mapping[int, Key] = field(default_factory=dict)  # members of `pending`, by agent
    remembered: SeenGradients = field(default_factory=SeenGradients)  # applied, or found bad

    def __post_init__(self) -> None:
        if not self.alpha.flags.writeable:
            return  # of a former state, in which it was found good
        sizes = (self.alpha.shape, self.adam.m.shape)
        require(
            self.alpha.ndim == 1 and sizes[0] == sizes[1] and self.alpha.size > 0,
            "alpha and Adam's moments",
            sizes,
            "vectors of one length",
        )
        require(bool(np.isfinite(self.alpha).all()), "alpha", "NaN or Inf", "finite values")
        self.alpha.setflags(write=False)

    @classmethod
    def start(cls, run: str, alpha: Array, learning_rate: float | CosineDecay) -> ServerState:
        """Version 0 and round 0, with a copy of `alpha` ([P_alpha])."""
        own = np.array(alpha, dtype=np.float32)
        return cls(run, own, Adam.start(own.size, learning_rate), version=0, round=0)

    @cached_property
    def quarantined(self) -> dict[int, int]:
        """Agents in quarantine, with the incarnation that it was imposed on."""
        found = ((agent, record.quarantine) for agent, record in self.agents.items())
        return {agent: incarnation for agent, incarnation in found if incarnation is not None}

    def closed(self, mean: Array | None, history: int) -> ServerState:
        """The state after the open round: `mean` (None: nothing accepted) applied once."""
        if mean is None:
            alpha, adam, version = self.alpha, self.adam, self.version
        else:
            alpha, adam = self.adam.update(self.alpha, mean)
            version = self.version + 1
        agents = dict(self.agents)
        for agent in self.in_round:
            agents[agent] = agents[agent]._replace(accepted=agents[agent].accepted + 1)
        # A gradient of a round before these is refused by its age; no need to know it.
        remembered = self.remembered.including(self.in_round.values())
        remembered = remembered.since(self.round + 1 - history)
        return ServerState(
            self.run, alpha, adam, version, self.round + 1, agents, remembered=remembered
        )

    def counters(self) -> dict[int, AgentCounters]:
        """The counters of each agent's gradients, by agent."""
        return {
            agent: AgentCounters(
                record.sent,
                record.accepted,
                record.rejected,
                int(agent in self.in_round),
                record.quarantine is not None,
            )
            for agent, record in sorted(self.agents.items())
        }

    def totals(self) -> Totals:
        """The counters of all agents' gradients together."""
        records = self.agents.values()
        return Totals(
            sum(record.accepted for record in records),
            sum(sum(record.rejected.values()) for record in records),
            sum(record.stale for record in records),
            sum(record.duplicate for record in records),
        )

    def to_dict(self) -> dict[str, Any]:
        """The state as nested dicts of arrays and JSON values."""
        return {
            "format": FORMATS[-1],
            "run": self.run,
            "alpha": self.alpha.copy(),
            "adam": self.adam.state_dict(),
            "version": self.version,
            "round": self.round,
            "agents": table_of(self.agents),
            "pending": {str(agent): item.to_dict() for agent, item in self.pending.items()},
            "remembered": self.remembered.to_rows(),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any], learning_rate: float | CosineDecay) -> ServerState:
        """Undo `to_dict`. Raises `ValueError` for another format or sizes that do not agree."""
        found, known = state["format"], " or ".join(map(str, FORMATS))
        require(found in FORMATS, "server state's format", found, known)
        pending = {int(a): Pending.from_dict(item) for a, item in state["pending"].items()}
        return cls(
            run=state["run"],
            alpha=np.array(state["alpha"], dtype=np.float32),
            adam=Adam.from_state(state["adam"], learning_rate),
            version=state["version"],
            round=state["round"],
            agents=agents_of(state["agents"]),
            pending=pending,
            in_round={key[0]: key for item in pending.values() for key in item.members},
            remembered=SeenGradients.from_rows(state["remembered"]),
        )
