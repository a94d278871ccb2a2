"""What a meta-training run's metrics tell, read once from beginning to end in bounded memory.

40 agents with a million steps each leave half a million rows: a quarter of a gigabyte of text.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path

from metagenrl.analysis.mean_series import MeanSeries
from metagenrl.analysis.mean_steps import MeanSteps
from metagenrl.analysis.population_curves import ReturnsOverLives, ReturnsOverSteps
from metagenrl.runs.config.yaml_file import load_mapping
from metagenrl.runs.metrics_file import iter_rows
from metagenrl.runs.names import CONFIG_FILE, METRICS_FILE
from metagenrl.runs.rows import AgentRow, EvaluationRow, EventRow, MetricsRow, ObjectiveRow
from metagenrl.runs.run_records import GIVEN_UP, HeldOutRow, SystemRow

ROUTINE = frozenset({
    "checkpoint", "rebirth", "joined", "left", "paused", "resumed", "scaled", "stopped", "complete",
})  # fmt: skip
"""Events of a run that goes as it was told to; the others are faults."""
LAST_FAULTS = 50
"""Faults that are kept in full; all are counted."""

_OF_OBJECTIVE = ("gradient_norm", "update_norm", "alpha_norm", "cosine", "agent_steps_per_s")


@dataclass
class RunHistory:
    """Curves and counts of one run. Steps are those of one agent, the mean of the population."""

    first_agents: int = 1
    """Agents that the run began with."""

    returns: dict[str, ReturnsOverSteps] = field(default_factory=dict)  # by environment
    lives: dict[str, ReturnsOverLives] = field(default_factory=dict)
    latest: dict[int, AgentRow] = field(default_factory=dict)  # every agent's last row
    objective: dict[str, MeanSeries] = field(
        default_factory=lambda: {name: MeanSeries() for name in _OF_OBJECTIVE}
    )
    """By `ObjectiveRow`'s field, over the steps of an agent that was there from the start."""
    cosines: dict[str, MeanSeries] = field(default_factory=dict)  # the same, by environment
    measures: dict[str, dict[str, MeanSeries]] = field(default_factory=dict)
    """Means of the agents by `Measure.name` and environment, over the steps of an agent."""
    last_version: ObjectiveRow | None = None
    held_out: dict[str, dict[int, list[float]]] = field(default_factory=dict)
    """Environment -> version -> returns of new agents in held-out evaluations."""
    failed_tests: int = 0
    """Held-out evaluations whose agent failed or diverged."""
    memory: int = 0  # bytes, the most that driver and processes below it have taken
    events: Counter[str] = field(default_factory=Counter)
    faults: deque[EventRow] = field(default_factory=lambda: deque(maxlen=LAST_FAULTS))
    seconds: float = 0.0  # of the last row, since the run started
    agents: int = field(init=False)
    """Those that are there by now."""
    away: set[int] = field(default_factory=set)
    """Agents that left; `latest` keeps their last rows."""
    _steps: float = 0.0  # of the agent that is furthest
    _mean_steps: MeanSteps = field(init=False)

    def __post_init__(self) -> None:
        self.agents, self._mean_steps = self.first_agents, MeanSteps(self.first_agents)

    @property
    def environments(self) -> list[str]:
        """In the order of the agents."""
        rows = sorted(self.latest.values(), key=lambda row: row.agent)
        return list(dict.fromkeys(row.env for row in rows))

    def add(self, row: MetricsRow) -> None:
        """Take in the next row."""
        self.seconds = row.time
        if isinstance(row, AgentRow):
            self.returns.setdefault(row.env, ReturnsOverSteps()).add(row)
            self.lives.setdefault(row.env, ReturnsOverLives()).add(row)
            self.latest[row.agent] = row
            self.away.discard(row.agent)
            for name, value in row.values.items():
                by_env = self.measures.setdefault(name, {})
                by_env.setdefault(row.env, MeanSeries()).add(self._abscissa(row), value)
        elif isinstance(row, ObjectiveRow):
            self._add_version(row)
        elif isinstance(row, EventRow):
            self.events[row.what] += 1
            self._change(row)
            self.failed_tests += row.what == GIVEN_UP
            if row.what not in ROUTINE:
                self.faults.append(row)
        elif isinstance(row, HeldOutRow):
            self._add_test(row)
        elif isinstance(row, SystemRow):
            self.memory = max(self.memory, row.rss)

    def _abscissa(self, row: AgentRow) -> float:
        """The most steps of an agent so far: a curve of several agents never goes back."""
        self._steps = max(self._steps, row.steps)
        return self._steps

    def _change(self, event: EventRow) -> None:
        """The population grew, or an agent left it."""
        by = {"joined": 1, "left": -1}.get(event.what, 0)
        if by and event.agent is not None:
            self.agents += by
            self._mean_steps.change(by)
            (self.away.add if by < 0 else self.away.discard)(event.agent)

    def _add_test(self, row: HeldOutRow) -> None:
        if row.return_mean is None:
            self.failed_tests += 1
            return
        by_version = self.held_out.setdefault(row.env, {})
        by_version.setdefault(row.version, []).append(row.return_mean)

    def _add_version(self, row: ObjectiveRow) -> None:
        steps = self._mean_steps.at(row.agent_steps)
        for name, series in self.objective.items():
            series.add(steps, getattr(row, name))
        for env, cosine in row.cosine_by_env.items():
            self.cosines.setdefault(env, MeanSeries()).add(steps, cosine)
        self.last_version = row


def _first_agents(run_dir: Path) -> int:
    """As the run's configuration has it; 1 where that cannot be read."""
    try:
        return max(1, int(load_mapping(run_dir / CONFIG_FILE, "path").get("agents", 1)))
    except (ValueError, TypeError):
        return 1


def read_history(run_dir: Path) -> RunHistory:
    """The run's history as far as it is written; an empty one where there are no rows."""
    history = RunHistory(_first_agents(run_dir))
    for row in iter_rows(run_dir / METRICS_FILE):
        if not isinstance(row, EvaluationRow):
            history.add(row)
    return history
