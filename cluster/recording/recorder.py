"""What the population's loop tells the world: metrics, log, live view, W&B, snapshots."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from metagenrl.agents.reports import MemberReport
from metagenrl.cluster.engines.exchange import Exchange, Gradient
from metagenrl.cluster.recording.agent_rows import IntervalAccumulator
from metagenrl.cluster.recording.lost_round import objective_row, report_of
from metagenrl.cluster.recording.machine import SystemMeter
from metagenrl.cluster.recording.outlets import Outlets
from metagenrl.cluster.recording.snapshots import SnapshotKeeper
from metagenrl.cluster.view.status import RunStatus
from metagenrl.objective_server.answers import Broadcast, Totals
from metagenrl.objective_server.snapshots.find import FOLDER
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.objective_server.store.open import open_store
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.folder import note_backend
from metagenrl.runs.machine.identity import RunIdentity
from metagenrl.runs.names import METRICS_FILE
from metagenrl.runs.rate import RateMeter
from metagenrl.runs.rows import EventRow, MetricsRow, Moment, ObjectiveRow
from metagenrl.tracking.trackers import Tracking

logger = logging.getLogger(__name__)

_QUIET = frozenset({"checkpoint", "rebirth", "joined", "left", "paused", "resumed"})


class Recorder:
    """Everything that is written or shown while a run goes on; never stops it."""

    def __init__(
        self,
        config: TrainConfig,
        identity: RunIdentity,
        states: Mapping[str, Mapping[str, Any]] | None,
    ) -> None:
        self._config, self._identity = config, identity
        store = open_store(config.store, identity.id, config.run_dir)
        self._keeper = SnapshotKeeper(
            store, config.run_dir, identity.id, config.objective, config.envs
        )
        agents = config.agents if states is None else len(states["population"]["roster"])
        envs = [config.env_of(i) for i in range(agents)]
        self._intervals = IntervalAccumulator(config.log_every, envs)
        self._steps, self._lives = [0] * agents, [0] * agents
        self._remaining = agents * config.steps
        self._agent_steps, self._elapsed, self._round, self._version = 0, 0.0, 0, 0
        if states is not None:
            self._restore(states["population"])
        self._began, self._meter = time.monotonic(), RateMeter()
        self._rate: float | None = None
        self._objective: ObjectiveRow | None = None
        self._totals: Totals | None = None
        self._backends: list[str] = []  # of this process's rounds
        self._quarantined: dict[int, int] = {}  # incarnation by agent
        self._system, self._held_out_waiting = SystemMeter(), 0
        self._outlets = Outlets(  # the open round is computed again, without a checkpoint all are
            config.run_dir / METRICS_FILE, self._round - 1, lambda: Tracking(config, identity.id)
        )

        if states is not None:
            self._tell_what_is_gone()

    def _tell_what_is_gone(self) -> None:
        """A resumed run does not need its history, but whoever resumes it may."""
        folder = self._config.run_dir
        logged = max(self._steps, default=0) > 2 * self._config.log_every
        if logged and not self._outlets.kept:
            logger.warning("%s: the rows before round %d are gone", METRICS_FILE, self._round)
        if self._version > self._config.snapshot_every and not (folder / FOLDER).is_dir():
            logger.warning("%s/: the snapshots before version %d are gone", FOLDER, self._version)

    def _restore(self, population: Mapping[str, Any]) -> None:
        saved = population["recorder"]
        self._intervals.load_state_dict(saved["intervals"])
        self._steps, self._lives = list(saved["steps"]), list(saved["lives"])
        self._agent_steps, self._elapsed = int(saved["agent_steps"]), float(saved["elapsed"])
        self._round, self._version = int(population["round"]), int(population["version"])

    @property
    def seconds(self) -> float:
        """Time that the run has taken, over all its processes."""
        return self._elapsed + time.monotonic() - self._began

    def moment(self) -> Moment:
        """Where the run is."""
        return Moment(self.seconds, self._round, self._version)

    def report(self, report: MemberReport, version: int) -> None:
        """One agent's round."""
        agent = report.agent
        if report.life > self._lives[agent]:
            self._lives[agent] = report.life
            message = f"life {report.life} at step {report.steps}"
            if report.origin is not None:
                message += f", with its policy of step {report.origin}"
            if report.drawn is not None:
                message += f", in {report.drawn}"
            self.event("rebirth", agent, message)
        if report.backend not in self._backends:
            self._note_backend(report)
        self._agent_steps += max(0, report.steps - self._steps[agent])
        self._steps[agent] = report.steps
        moment = Moment(self.seconds, self._round, version)
        self._outlets.add_agents(self._intervals.add(report, moment))

    def _note_backend(self, report: MemberReport) -> None:
        """Tell what computes, once: in the log, in `run.json` and in the status."""
        self._backends.append(report.backend)
        logger.info("agent %d (%s) is computed by: %s", report.agent, report.env_id, report.backend)
        try:
            note_backend(self._config.run_dir, report.backend)
        except (OSError, ValueError) as error:
            logger.warning("run.json does not say what computes (%s): %s", report.backend, error)

    def joined(self, agent: int, env: str, incarnation: int, steps: int, life: int) -> None:
        """An agent joined the population, in its life `life` and with `steps` behind it."""
        self._intervals.join(agent, env, incarnation, steps)
        self._steps[agent : agent + 1], self._lives[agent : agent + 1] = [steps], [life]
        self.event("joined", agent, f"({env}) joined at version {self._version}", between=True)

    def left(self, agent: int, message: str) -> None:
        """An agent left the population."""
        moment = Moment(self.seconds, self._round - 1, self._version)
        self._outlets.add_agents(self._intervals.leave(agent, moment))
        self.event("left", agent, message, between=True)

    def exchange(self, gradients: Sequence[Gradient], result: Exchange) -> None:
        """The server's answer to a round; one row per version of alpha."""
        for gradient in gradients:
            self._refused(gradient)
        broadcast, self._totals = result.broadcast, result.totals
        self._watch_quarantine(broadcast.quarantined)
        self._round = broadcast.round
        if broadcast.version == self._version:
            return
        self._version = broadcast.version
        row = objective_row(
            broadcast.report or report_of(gradients, broadcast),
            result.totals,
            version=broadcast.version,
            alpha_norm=float(np.linalg.norm(broadcast.alpha)),
            time=self.seconds,
            agent_steps=self._agent_steps,
            agent_steps_per_s=self._rate,
        )
        self._objective = row
        self._outlets.add(row)

    def _refused(self, gradient: Gradient) -> None:
        """An event for each agent whose gradient was not finite."""
        bad = [share.agent for share in gradient.shares if share.defect == "non_finite"]
        for agent in bad:
            message = f"({gradient.environment}): gradient for round {gradient.round} rejected"
            self.event("rejected", agent, f"{message}: non_finite")

    def _watch_quarantine(self, quarantined: Mapping[int, int]) -> None:
        """An event for each agent that is newly excluded; until it is restarted it is shown so."""
        for agent, incarnation in quarantined.items():
            if self._quarantined.get(agent) != incarnation:
                env = self._config.env_of(agent)
                limit = self._config.server.quarantine_after
                message = f"({env}): quarantined, {limit} gradients in a row were not finite"
                self.event("quarantined", agent, message)
            self._intervals.mark(agent, "quarantined")
        self._quarantined = dict(quarantined)

    def event(
        self,
        what: str,
        agent: int | None,
        message: str,
        restarts: int | None = None,
        between: bool = False,
    ) -> None:
        """Something happened to an agent, or to the run.

        `between` rounds: it belongs to the one before, whose rows a resumed run keeps.
        """
        who = "" if agent is None else f"agent {agent} "
        logger.log(logging.INFO if what in _QUIET else logging.WARNING, "%s%s", who, message)
        if agent is not None and what in ("restarted", "failed", "late"):
            self._intervals.mark(agent, what, restarts)
        row = EventRow(self.seconds, self._round - between, what, agent, message)
        self._outlets.add(row)

    def record(self, row: MetricsRow) -> None:
        """A row that is complete as it is."""
        self._outlets.add(row)

    def snapshot(self, broadcast: Broadcast, required: bool = False) -> ObjectiveSnapshot:
        """Keep alpha under its version. Raises `OSError` where it cannot but is `required`."""
        keep = self._keeper.write if required else self._keeper.keep
        return keep(broadcast, self._agent_steps, self.moment(), self)

    def tick(self, remaining: int, held_out_waiting: int = 0) -> None:
        """Once a round: write what has come together, and show it; `remaining` agent-steps."""
        self._remaining = remaining
        self._rate = self._meter.add(self.seconds, self._agent_steps)
        self._held_out_waiting = held_out_waiting
        if self._system.due():
            self._measure()
        self.flush()
        self._outlets.show(self.status)

    def flush(self) -> None:
        """Write what has come together."""
        self._outlets.flush()

    def _measure(self) -> None:
        lags = [row.lag for row in self._intervals.current(self.moment())]
        self._outlets.add(
            self._system.row(
                self.moment(), self._agent_steps, self._rate, lags, self._held_out_waiting
            )
        )

    def fruitless(self) -> str | None:
        """One line where agents have learned and no gradient of theirs was ever accepted."""
        begun = max(self._steps, default=0) > self._config.agent.learning_starts
        if not begun or self._version or self._totals is None:
            return None
        of_no_use = self._totals.rejected - self._totals.stale - self._totals.duplicate
        return (
            f"note: no gradient was accepted ({of_no_use} were zero or not finite): the objective "
            "is as it began"
        )

    def status(self) -> RunStatus:
        """The run's status at this moment."""
        row = self._objective
        return RunStatus(
            run=str(self._config.run_dir),
            round=self._round,
            version=self._version,
            elapsed=self.seconds,
            agent_steps=self._agent_steps,
            goal=self._agent_steps + self._remaining,
            rate=self._rate,
            agents=self._intervals.current(self.moment()),
            gradient_norm=None if row is None else row.gradient_norm,
            cosine=None if row is None else row.cosine,
            backends=list(self._backends),
        )

    def state_dict(self) -> dict[str, Any]:
        """The state that a resumed run needs to go on with the same rows."""
        return {
            "intervals": self._intervals.state_dict(),
            "steps": list(self._steps),
            "lives": list(self._lives),
            "agent_steps": self._agent_steps,
            "elapsed": self.seconds,
        }

    def close(self) -> None:
        """Write and show what is left; wait for nothing but the trackers, and not for long."""
        for row in self._intervals.finish(self.moment()):
            self._outlets.add(row)
        self._measure()
        self._outlets.close(self.status)
