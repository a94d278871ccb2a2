"""What the live view knows of a run, and how it is put into words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from metagenrl.analysis.number_text import number
from metagenrl.runs.rate import duration, seconds_left
from metagenrl.runs.rows import AgentRow


@dataclass(frozen=True)
class RunStatus:
    """The numbers that the view shows."""

    run: str
    round: int
    version: int
    elapsed: float  # seconds since the run started
    agent_steps: int  # of the whole population
    goal: int  # agent_steps at the end
    rate: float | None  # agent-steps per second
    agents: Sequence[AgentRow]  # every agent, see `IntervalAccumulator.current`
    gradient_norm: float | None = None  # of the mean meta-gradient
    cosine: float | None = None
    backends: Sequence[str] = field(default_factory=list)  # what computes the agents' rounds

    @property
    def left(self) -> float | None:
        """Seconds until the run is done, None while unknown."""
        return seconds_left(self.agent_steps, self.goal, self.rate)


def status_line(status: RunStatus) -> str:
    """The run in one line: progress, rate, time left, and every environment's mean return."""
    share = status.agent_steps / status.goal if status.goal else 1.0
    rate = "?" if status.rate is None else number(status.rate)
    parts = [
        f"{share:4.0%}",
        f"round {status.round}",
        f"version {status.version}",
        f"{rate} agent-steps/s",
        f"{duration(status.elapsed)} gone",
        f"{duration(status.left)} left",
    ]
    for env, rows in by_environment(status.agents).items():
        unwell = states(row for row in rows if row.state not in ("learning", "random", "starting"))
        suffix = f" ({unwell})" if unwell else ""
        parts.append(f"{env} {number(mean_return(rows))}{suffix}")
    return " | ".join(parts)


def by_environment(rows: Sequence[AgentRow]) -> Mapping[str, list[AgentRow]]:
    """The rows of each environment, environments in order of first appearance."""
    groups: dict[str, list[AgentRow]] = {}
    for row in rows:
        groups.setdefault(row.env, []).append(row)
    return groups


def mean_return(rows: Sequence[AgentRow]) -> float | None:
    """Mean over the agents that have finished an episode; None: none has."""
    returns = [row.return_mean for row in rows if row.return_mean is not None]
    return sum(returns) / len(returns) if returns else None


def states(rows: Iterable[AgentRow]) -> str:
    """How many agents are in which state, the rarest first: `1 failed, 3 learning`."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.state] = counts.get(row.state, 0) + 1
    ranked = sorted(counts.items(), key=lambda item: item[1])
    return ", ".join(f"{count} {state}" for state, count in ranked)
