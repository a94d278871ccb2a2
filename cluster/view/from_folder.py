"""A run's status from what it publishes in its folder, followed as the files grow."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from metagenrl.cluster.view.status import RunStatus
from metagenrl.runs.follow_file import FileFollower
from metagenrl.runs.names import METRICS_FILE
from metagenrl.runs.rows import AgentRow, EventRow, ObjectiveRow

_STATES = ("restarted", "failed", "late")
"""Events that say what condition an agent is in; its next row ends it."""


@dataclass(frozen=True)
class Sighting:
    """The run as it was last heard of."""

    status: RunStatus
    silent: float | None  # seconds since it wrote anything; None: it never has
    ended: bool = False  # by its own word

    @property
    def finished(self) -> bool:
        """Whether it has ended, or all its steps are taken."""
        return self.ended or self.status.agent_steps >= self.status.goal


class PublishedStatus:
    """The status of a run by its `metrics.jsonl`.

    An agent's row is as old as its last interval (`log_every` steps); the population's steps,
    version and rate are those of the last round.
    """

    def __init__(self, run_dir: Path, goal: int) -> None:
        """`goal`: steps that all agents together are to take."""
        self._run_dir, self._goal = run_dir, goal
        self._rows = FileFollower(run_dir / METRICS_FILE)
        self._agents: dict[int, AgentRow] = {}
        self._objective: ObjectiveRow | None = None
        self._time, self._round = 0.0, 0

    def look(self) -> Sighting:
        """Take in what is new."""
        for row in self._rows.new_rows():
            if isinstance(row, AgentRow | ObjectiveRow | EventRow):
                self._add(row)
        return Sighting(self._status(), self._silent())

    def _add(self, row: AgentRow | ObjectiveRow | EventRow) -> None:
        self._time, self._round = row.time, row.round
        if isinstance(row, ObjectiveRow):
            self._objective = row
        elif isinstance(row, AgentRow):
            before = self._agents.get(row.agent, row)
            if row.return_mean is None and before.life == row.life:  # no episode ended since
                row = replace(row, return_mean=before.return_mean)
            self._agents[row.agent] = row
        elif row.agent in self._agents and row.what in _STATES:
            self._agents[row.agent] = replace(self._agents[row.agent], state=row.what)

    def _status(self) -> RunStatus:
        objective, agents = self._objective, list(self._agents.values())
        steps = sum(row.steps for row in agents)
        return RunStatus(
            run=str(self._run_dir),
            round=self._round,
            version=objective.version if objective else 0,
            elapsed=self._time,
            agent_steps=max(steps, objective.agent_steps) if objective else steps,
            goal=self._goal,
            rate=objective.agent_steps_per_s if objective else None,
            agents=agents,
            gradient_norm=objective.gradient_norm if objective else None,
            cosine=objective.cosine if objective else None,
        )

    def _silent(self) -> float | None:
        try:
            return max(0.0, time.time() - self._rows.path.stat().st_mtime)
        except FileNotFoundError:
            return None
