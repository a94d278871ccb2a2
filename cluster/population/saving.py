"""Checkpoints of a population: when one is due, and what is in it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from metagenrl.cluster.engines.interface import AgentLost, Engine
from metagenrl.cluster.population.attendance import Attendance
from metagenrl.cluster.population.roster import Roster
from metagenrl.cluster.recording.recorder import Recorder
from metagenrl.objective_server.answers import Broadcast
from metagenrl.runs.checkpoints import Checkpoints, agent_part


class Saving:
    """Saves agents, server, roster and recorder together, every so many steps of an agent."""

    def __init__(
        self,
        every: int,
        engine: Engine,
        roster: Roster,
        attendance: Attendance,
        recorder: Recorder,
        checkpoints: Checkpoints,
    ) -> None:
        self._every, self.due = every, every
        self._engine, self._roster, self._attendance = engine, roster, attendance
        self._recorder, self._checkpoints = recorder, checkpoints

    def save(self, broadcast: Broadcast, progress: int, again: bool) -> bool:
        """Save everything, with no round under way and all gradients delivered.

        `progress`: the steps of the agent that is ahead of the others. False where that was not
        possible. `again`: whether or not this round has a checkpoint already.
        """
        # A straggler or newcomer: try again after the next round.
        newcomers = any(not seat.restarts for seat in self._roster.in_condition("starting"))
        if newcomers or self._roster.in_condition("busy"):
            return False
        if progress >= self.due:
            self.due += self._every
        self._recorder.flush()  # a run resumed from here does not write these rows again
        fetch = self._agents()
        fetch["server"] = self._engine.server_state
        fetch["population"] = functools.partial(self._population, broadcast)
        try:
            saved = self._checkpoints.save(broadcast.round, fetch, again)
        except AgentLost as error:
            self._recorder.event("checkpoint failed", None, str(error))
            return False
        what = "checkpoint" if saved else "checkpoint failed"
        self._recorder.event(what, None, f"round {broadcast.round}")
        return saved

    def _agents(self) -> dict[str, Callable[[], Mapping[str, Any]]]:
        """How each agent's state is had, by the name of its part."""
        fetch: dict[str, Callable[[], Mapping[str, Any]]] = {
            agent_part(seat.index): functools.partial(self._engine.agent_state, seat.index)
            for seat in self._roster.in_condition("idle", "done")
        }
        # Who is being brought back may be waiting for a place: what it goes on from is its state.
        for seat in self._roster.in_condition("starting"):
            state = self._attendance.last_state(seat.index)
            if state is not None:
                fetch[agent_part(seat.index)] = functools.partial(dict, state)
        return fetch

    def _population(self, broadcast: Broadcast) -> dict[str, Any]:
        return {
            "roster": self._roster.state_dict(),
            "checkpoint_due": self.due,
            "recorder": self._recorder.state_dict(),
            "version": broadcast.version,
            "round": broadcast.round,
        }
