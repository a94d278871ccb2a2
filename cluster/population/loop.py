"""Meta-training: the loop of Algorithm 1 over a population, on either engine.

Synchronous mode (staleness bound 0, the paper's): every agent computes its round with the same
alpha, then the server applies the mean. Asynchronous mode: an agent goes on with the newest
alpha as soon as its own round is done, and a quorum closes the server's round. Nothing waits
without a bound: an agent that misses two deadlines counts as hung and is restarted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from metagenrl.base.ending import Ending
from metagenrl.base.paths import naming_lost_folder
from metagenrl.base.retry import PATIENCE, patiently
from metagenrl.cluster.engines.exchange import Gradient
from metagenrl.cluster.engines.interface import (
    START_TIMEOUT,
    Averaged,
    Engine,
    Lost,
    Result,
)
from metagenrl.cluster.held_out.tests import HeldOut
from metagenrl.cluster.population.attendance import Attendance
from metagenrl.cluster.population.roster import Roster, Seat
from metagenrl.cluster.population.saving import Saving
from metagenrl.cluster.population.strength import Strength
from metagenrl.cluster.recording.recorder import Recorder
from metagenrl.objective_server.answers import Broadcast
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.runs.checkpoints import Checkpoints
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.ownership import OwnFolder

States = Mapping[str, Mapping[str, Any]]
Value = TypeVar("Value")


class Population:
    """One meta-training run."""

    def __init__(
        self,
        config: TrainConfig,
        engine: Engine,
        roster: Roster,
        recorder: Recorder,
        held_out: HeldOut,
        checkpoints: Checkpoints,
        states: States | None,
        ending: Ending | None = None,
    ) -> None:
        self._ending = ending or Ending()
        self.while_waiting: Callable[[str], None] = lambda why: None
        """Called again and again, with the reason, while the run waits for its folder or disk."""
        self.config, self.engine, self.roster = config, engine, roster
        self.recorder, self.held_out, self.checkpoints = recorder, held_out, checkpoints
        self._synchronous = config.server.staleness_bound == 0
        self.attendance = Attendance(
            config.steps,
            config.max_restarts,
            engine,
            roster,
            recorder,
            checkpoints,
            max(START_TIMEOUT, config.env_start_timeout),
        )
        self._strength = Strength(roster, recorder)
        self._broadcast: Broadcast = engine.exchange([], [], close=False).broadcast
        self._saving = Saving(
            config.checkpoint_every, engine, roster, self.attendance, recorder, checkpoints
        )
        if states is not None:
            roster.load_state_dict(states["population"]["roster"])
            self._saving.due = int(states["population"]["checkpoint_due"])
        self.attendance.begin(states or {})

    def run(self, steer: Callable[[], bool] = lambda: True) -> bool:
        """Train until every agent has taken its steps; False where all of them failed.

        `steer` comes between the rounds; where it is False the run stops. Where held-out tests
        see no more progress, meta-training is over before that.
        """
        if self._broadcast.version == 0 and self.held_out.due(-1, 0):
            self.held_out.request(self.recorder.snapshot(self._broadcast))
        stopped = False
        while self.roster.active and not stopped and not self.held_out.stop:
            stopped = not steer()
            if not stopped:
                self._advance()
        finished = bool(self.roster.in_condition("done")) or self.held_out.stop
        if finished and not stopped:
            self._last_checkpoint()
        last = self._last_snapshot(patience=0.0 if stopped else PATIENCE)
        if not stopped and not self.held_out.stop:
            self.held_out.request(last)
        return stopped or finished

    def _last_checkpoint(self) -> None:
        """The state at the end; what is in its way is waited for. Raises `OSError` in the end."""

        def write() -> None:
            if not self.checkpoint() and self.checkpoints.error is not None:
                raise self.checkpoints.error

        self._patiently(write, "last checkpoint not written")

    def _last_snapshot(self, patience: float) -> ObjectiveSnapshot:
        """As for the last checkpoint: the objective at the end."""

        def write() -> ObjectiveSnapshot:
            return self.recorder.snapshot(self._broadcast, required=True)

        return self._patiently(write, "last objective not written", patience)

    def _patiently(self, call: Callable[[], Value], what: str, patience: float = PATIENCE) -> Value:
        """`patiently`, until the run is told to end."""
        reason = what

        def named() -> Value:
            with naming_lost_folder(self.config.run_dir):
                return call()

        def tell(why: str) -> None:
            nonlocal reason
            reason = f"{what}: {why}"
            self.recorder.event("waiting", None, reason)

        def give_up() -> bool:
            self.while_waiting(reason)
            return self._ending.requested

        return patiently(named, tell, patience, give_up=give_up)

    def wait_for_folder(self, folder: OwnFolder) -> None:
        """Between rounds: go on only while the run's folder is there and can be written to."""
        self._patiently(folder.check, "paused")

    def _advance(self) -> None:
        """One round, or in asynchronous mode what has come in."""
        nobody = not self.roster.in_condition("idle", "busy")
        self.attendance.welcome(self.attendance.start_timeout if nobody else 0.0)
        self._strength.note()
        if self._synchronous:
            self._synchronous_round()
        else:
            self._asynchronous_step()
        if max(self._progress(), default=self.config.steps) >= self._saving.due:
            self.checkpoint()
        self.held_out.poll()
        self.tick()

    def tick(self) -> None:
        """Write and show what there is; once a round, and while paused."""
        remaining = sum(self.config.steps - progress for progress in self._progress())
        self.recorder.tick(remaining, self.held_out.waiting)

    def _progress(self) -> list[int]:
        return [self.roster[agent].progress for agent in self.roster.active]

    @property
    def broadcast(self) -> Broadcast:
        """The objective as it is now."""
        return self._broadcast

    def _begin(self, seat: Seat) -> None:
        after = seat.progress + self.config.agent.policy_delay
        # None of it beyond the agent's last step, nor beyond one that a checkpoint is due at.
        ahead = after < min(self.config.steps, self._saving.due)
        self.engine.begin_round(seat.index, self._broadcast, ahead)
        seat.condition, seat.begun, seat.late = "busy", time.monotonic(), False

    def _synchronous_round(self) -> None:
        for seat in self.roster.in_condition("idle"):
            self._begin(seat)
        expected = self.roster.active
        gradients = self._collect(self.config.round_timeout)
        self._exchange(sorted(gradients, key=lambda g: g.agent), expected, close=True)

    def _collect(self, timeout: float) -> list[Gradient]:
        """Gradients of all busy agents that answer in time; the others are late or lost."""
        deadline = time.monotonic() + timeout
        gradients: list[Gradient] = []
        while self.roster.in_condition("busy"):
            left = deadline - time.monotonic()
            results = self.engine.poll(max(left, 0.0), everyone=True) if left > 0 else []
            if not results:
                break
            gradients += self._take(results)
        self.attendance.watch_late()
        return gradients

    def _asynchronous_step(self) -> None:
        for seat in self.roster.in_condition("idle"):
            self._begin(seat)
        results = self.engine.poll(self.config.round_timeout, everyone=False)
        if not results:
            self.attendance.watch_late()
        gradients = self._take(results)
        self._exchange(gradients, self.roster.active, close=not results)

    def _take(self, results: list[Result]) -> list[Gradient]:
        gradients: list[Gradient] = []
        for result in results:
            if isinstance(result, Averaged):
                gradients.append(result.gradient)
                continue
            seat = self.roster[result.agent]
            if isinstance(result, Lost):
                self.attendance.lost(seat, result)
                continue
            seat.condition, seat.steps = "idle", result.report.steps
            self.recorder.report(result.report, self._broadcast.version)
            if seat.progress >= self.config.steps:
                seat.condition = "done"
        return gradients

    def _exchange(self, gradients: list[Gradient], expected: list[int], close: bool) -> None:
        before = self._broadcast.version
        result = self._patiently(
            lambda: self.engine.exchange(gradients, expected, close), "objective not saved"
        )
        self._broadcast = result.broadcast
        self.recorder.exchange(gradients, result)
        every = self.config.snapshot_every
        if self._broadcast.version // every > before // every:
            self.recorder.snapshot(self._broadcast)
        if self.held_out.due(before, self._broadcast.version):
            self.held_out.request(self.recorder.snapshot(self._broadcast))

    def settle(self) -> None:
        """Let every agent finish its round, and deliver all gradients; stragglers stay busy."""
        if not self._synchronous:
            gradients = self._collect(self.config.round_timeout)
            self._exchange(gradients, self.roster.active, close=False)

    def checkpoint(self, again: bool = False) -> bool:
        """See `Saving.save`, once all gradients are delivered."""
        self.settle()
        progress = max(self._progress(), default=self.config.steps)
        return self._saving.save(self._broadcast, progress, again)
