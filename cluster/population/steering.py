"""Carrying out what is asked of a running population, between its rounds."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from metagenrl.base.checks import require
from metagenrl.base.ending import Ending
from metagenrl.base.wording import counted
from metagenrl.cluster.control.desk import Condition, ControlDesk, PopulationStatus, Request
from metagenrl.cluster.engines.interface import AgentLost
from metagenrl.cluster.engines.placement import require_room_to_grow
from metagenrl.cluster.population.departures import Departures
from metagenrl.cluster.population.loop import Population
from metagenrl.cluster.population.roster import Seat

PAUSE_INTERVAL = 0.1
"""Seconds between two looks at the desk while the population is paused."""

logger = logging.getLogger(__name__)


class Steering:
    """Scale, pause, resume and stop. A change of the population's size is in a checkpoint before
    it is confirmed, so that no kill undoes it."""

    def __init__(
        self, population: Population, departures: Departures, desk: ControlDesk, ending: Ending
    ) -> None:
        self._population, self._departures, self._desk = population, departures, desk
        self._ending, self._tries_until = ending, float("inf")
        self._condition: Condition = "running"
        self._stopped = False
        self._scaling: Request | None = None  # not confirmed yet
        population.while_waiting = self._refuse_meanwhile

    @property
    def stopped(self) -> bool:
        """Whether the run was asked to stop, and did."""
        return self._stopped

    def before_round(self) -> bool:
        """Carry out what was asked; waits while paused. False: the run is to end here."""
        while True:
            for request in self._desk.requests():
                self._carry_out(request)
            self._go_on_scaling()
            if self._ending.requested and not self._stopped:
                self._end()
            self._desk.post(self._status)
            if self._stopped or self._ending.requested or self._condition != "paused":
                return not self._stopped
            self._population.tick()
            time.sleep(PAUSE_INTERVAL)

    def close(self) -> None:
        """Say that the run has ended."""
        if self._scaling is not None:
            self._desk.answer(self._scaling, "failed", "the run ended before that was done")
        self._condition = "ended"
        self._desk.end(self._status)

    def _refuse_meanwhile(self, why: str) -> None:
        """While the run waits for its folder or its disk nothing that is asked can be done."""
        for request in self._desk.requests():
            self._desk.answer(request, "failed", f"{why}; ask again afterwards")
        self._desk.post(lambda: replace(self._status(), condition="waiting"))

    def _status(self) -> PopulationStatus:
        population = self._population
        roster = population.roster
        return PopulationStatus(
            self._condition,
            len(roster.present),
            len(roster.active),
            time.time(),
            population.recorder.status(),
        )

    def _note(self, what: str, message: str) -> None:
        self._population.recorder.event(what, None, message, between=True)

    def _carry_out(self, request: Request) -> None:
        if self._stopped:
            self._desk.answer(request, "failed", "the run is stopping")
        elif request.action == "scale":
            self._scale(request)
        elif request.action == "stop":
            self._stop(request)
        else:
            self._pause(request)

    def _pause(self, request: Request) -> None:
        wanted: Condition = "paused" if request.action == "pause" else "running"
        where = f"in round {self._population.broadcast.round}"
        if wanted == self._condition:
            self._desk.answer(request, "done", f"{wanted} already, {where}")
            return
        if wanted == "paused":
            self._population.settle()
        self._condition = wanted
        self._population.recorder.event(
            f"{request.action}d", None, f"{request.action}d {where}", between=True
        )
        self._desk.answer(request, "done", f"{request.action}d {where}")

    def _stop(self, request: Request) -> None:
        """End with a checkpoint, or not at all."""
        if not self._population.checkpoint():
            reason = "no checkpoint could be written (see run.log); the run goes on, ask again"
            self._desk.answer(request, "failed", reason)
            return
        self._stopped = True
        where = f"round {self._population.broadcast.round}"
        self._population.recorder.event(
            "stopped", None, f"stopped with a checkpoint of {where}", between=True
        )
        self._desk.answer(request, "done", f"stopped with a checkpoint of {where}")

    def _end(self) -> None:
        """End as the signal wants it: with a checkpoint, or where none can be had, without.

        A straggler or an agent that is being brought back may be in its way for a round or two.
        """
        now, population = time.monotonic(), self._population
        self._tries_until = min(self._tries_until, now + 2 * population.config.round_timeout)
        where = f"round {population.broadcast.round}"
        full = population.checkpoints.error is not None
        if population.checkpoint():
            self._note("stopped", f"stopping: checkpoint at {where}")
        elif now > self._tries_until or (full and population.checkpoints.error is not None):
            self._note("stopped", f"stopping at {where} without a checkpoint (see run.log)")
        else:
            return
        self._stopped = True

    def _scale(self, request: Request) -> None:
        agents = request.agents or 0
        if self._scaling is not None:
            message = f"still scaling to {self._scaling.agents} agents, ask again"
            self._desk.answer(request, "failed", message)
            return
        try:
            least = len(self._population.config.envs)
            require(agents >= least, "agents", agents, f"at least {least}, one an environment")
            self._make_room(agents)
        except ValueError as error:
            self._desk.answer(request, "refused", str(error))
            return
        self._population.settle()
        self._scaling = request
        for seat in self._population.roster.join(agents):
            self._join(seat, request.rejoin)

    def _make_room(self, agents: int) -> None:
        """Raises `ValueError` where the engine has no room for a population of that size."""
        population = self._population
        population.engine.make_room(agents)
        if agents > len(population.roster.present):
            require_room_to_grow(population.config, agents, population.engine.memory())

    def _join(self, seat: Seat, rejoin: bool) -> None:
        state = self._departures.state_of(seat.index) if rejoin else None
        if state is not None:
            seat.steps = int(state["steps"])
            seat.joined -= seat.steps
        self._population.engine.start_agent(seat.config, seat.incarnation, state)
        life = 0 if state is None else int(state["life"])
        recorder = self._population.recorder
        recorder.joined(seat.index, seat.config.env_id, seat.incarnation, seat.steps, life)

    def _go_on_scaling(self) -> None:
        """Let agents leave as they become idle; confirm once all is done and saved."""
        request, population = self._scaling, self._population
        if request is None:
            return
        assert request.agents is not None
        population.attendance.welcome(0.0)
        leaving = population.roster.present[request.agents :]
        for seat in leaving:
            if seat.condition not in ("busy", "starting"):
                self._leave(seat)
        if any(seat.condition != "left" for seat in leaving):
            return
        if population.roster.in_condition("starting"):
            return
        population.settle()
        if population.roster.in_condition("busy"):
            return
        message = f"now {counted(request.agents, 'agent')}"
        if not population.checkpoint(again=True):
            message += "; no checkpoint could be written (see run.log), so a kill would undo it"
        self._note("scaled", message)
        self._desk.answer(request, "done", message)
        self._scaling = None

    def _leave(self, seat: Seat) -> None:
        message = f"({seat.config.env_id}) left at step {seat.steps}"
        try:
            state = self._population.engine.agent_state(seat.index)
            self._departures.keep(
                seat.index, seat.incarnation, self._population.broadcast.round, state
            )
        except (AgentLost, OSError) as error:
            message += f"; its state is not kept: {error}"
        self._population.engine.stop_agent(seat.index)
        seat.condition = "left"
        self._population.recorder.left(seat.index, message)
