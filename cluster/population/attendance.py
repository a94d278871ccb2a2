"""Who takes part: agents come up, are late, are lost and are brought back."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from metagenrl.cluster.engines.interface import START_TIMEOUT, Engine, Lost, Started
from metagenrl.cluster.population.roster import Roster, Seat
from metagenrl.cluster.recording.recorder import Recorder
from metagenrl.runs.checkpoints import Checkpoints, agent_part

logger = logging.getLogger(__name__)


class Attendance:
    """Starts a population's agents and keeps their seats' conditions, outside of their rounds."""

    def __init__(
        self,
        steps: int,
        max_restarts: int,
        engine: Engine,
        roster: Roster,
        recorder: Recorder,
        checkpoints: Checkpoints,
        start_timeout: float = START_TIMEOUT,
    ) -> None:
        """An agent is done after `steps`, and failed when it is lost after `max_restarts`.

        `start_timeout`: seconds until it must have come up.
        """
        self.start_timeout = start_timeout
        self._steps, self._max_restarts = steps, max_restarts
        self._engine, self._roster = engine, roster
        self._recorder, self._checkpoints = recorder, checkpoints

    def begin(self, states: Mapping[str, Mapping[str, Any]]) -> None:
        """Start every agent, from its part of a checkpoint where that has one, and await them."""
        for seat in self._roster.present:
            state = states.get(agent_part(seat.index))
            self._engine.start_agent(
                seat.config, seat.incarnation, None if state is None else dict(state)
            )
        self.welcome(self.start_timeout)

    def welcome(self, timeout: float) -> None:
        """Let agents that came up take part; the others go on without those that have not."""
        waiting = {seat.index for seat in self._roster.in_condition("starting")}
        if not waiting:
            return
        for result in self._engine.started(timeout):
            waiting.discard(result.agent)
            seat = self._roster[result.agent]
            if isinstance(result, Started):
                seat.condition = "done" if seat.progress >= self._steps else "idle"
            else:
                self.lost(seat, result)
        if timeout:  # those that it was given for, not who is brought back since
            for agent in sorted(waiting):
                self.lost(self._roster[agent], Lost(agent, f"not up after {timeout:.0f} s"))

    def watch_late(self) -> None:
        """Busy agents past a deadline are late; past two, hung: the same as a crash."""
        for seat in self._roster.in_condition("busy"):
            if seat.late:
                waited = time.monotonic() - seat.begun
                self.lost(seat, Lost(seat.index, f"no answer for {waited:.0f} s"))
            else:
                seat.late = True
                self._recorder.event("late", seat.index, "the round closed without it")

    def lost(self, seat: Seat, lost: Lost) -> None:
        """Bring an agent back from its last checkpoint, `max_restarts` times."""
        if lost.detail:  # for the log alone: it may come again with every restart
            logger.info("agent %d (%s): %s", seat.index, seat.config.env_id, lost.detail)
        self._engine.stop_agent(seat.index)
        if seat.restarts >= self._max_restarts:
            seat.condition = "failed"
            message = f"failed after {seat.restarts} restarts: {lost.reason}"
            self._recorder.event("failed", seat.index, message)
            return
        seat.restarts += 1
        seat.incarnation += 1
        state = self.last_state(seat.index)
        self._engine.start_agent(seat.config, seat.incarnation, state)
        seat.condition = "starting"
        seat.steps = int(state["steps"]) if state else 0
        limit = self._max_restarts
        message = f"restarted ({seat.restarts}/{limit}) at step {seat.steps}: {lost.reason}"
        self._recorder.event("restarted", seat.index, message, seat.restarts)

    def last_state(self, agent: int) -> dict[str, Any] | None:
        """An agent's part of the newest checkpoint, None where it has none."""
        try:
            states = self._checkpoints.load([agent_part(agent)])
        except ValueError:  # it was not there yet, or it had failed, when that was written
            return None
        return None if states is None else states[agent_part(agent)]
