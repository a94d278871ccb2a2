"""From a report every round to a row every `log_every` steps, agent by agent."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from metagenrl.base.checks import require
from metagenrl.runs.rows import AgentRow, Moment

if TYPE_CHECKING:
    from metagenrl.agents.reports import MemberReport

_LEFT, _QUARANTINED = "left", "quarantined"
_AVERAGED = ("q", "td_loss", "objective_loss", "policy_gradient_norm", "value_after")
_NAMED = {*_AVERAGED, "gradient_norm"}  # means with a field of their own in the row


@dataclass
class _Interval:
    """An agent's steps since its last row. Only JSON values, so that it is its own state."""

    start: int = 0  # steps at its beginning
    incarnation: int = 0
    steps: int = 0
    life: int = 0
    life_steps: int = 0
    state: str = "starting"
    lag: int = 0
    restarts: int = 0
    origin: int | None = None
    drawn: str | None = None
    rounds: int = 0
    episodes: int = 0
    return_sum: float = 0.0
    return_last: float | None = None
    length_sum: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def follow_up(self, start: int) -> _Interval:
        """The empty interval after this one."""
        return _Interval(
            start, self.incarnation, self.steps, self.life, self.life_steps, self.state, self.lag,
            self.restarts, self.origin, self.drawn,
        )  # fmt: skip

    def add(self, report: MemberReport, version: int) -> None:
        """Take in one round."""
        if self.state != _QUARANTINED or report.incarnation != self.incarnation:
            self.state = "random" if report.gradient is None else "learning"
        self.incarnation, self.steps = report.incarnation, report.steps
        self.life, self.life_steps = report.life, report.life_steps
        self.origin, self.drawn = report.origin, report.drawn
        self.rounds += 1
        for episode in report.episodes:
            self.episodes += 1
            self.return_last = float(episode.undiscounted_return)
            self.return_sum += self.return_last
            self.length_sum += episode.length
        values = dict(report.values)
        values |= {name: float(getattr(report, name)) for name in _AVERAGED}
        if report.gradient is not None:
            self.lag = version - report.gradient.version
            values["gradient_norm"] = float(report.gradient.norm)
        for name, value in values.items():
            if math.isfinite(value):
                self.sums[name] = self.sums.get(name, 0.0) + value
                self.counts[name] = self.counts.get(name, 0) + 1

    def mean(self, name: str) -> float | None:
        """Mean of a value over the rounds in which it was finite."""
        return self.sums[name] / self.counts[name] if name in self.sums else None

    def measured(self) -> dict[str, float]:
        """Means of the policy's measures, by name."""
        return {n: self.sums[n] / self.counts[n] for n in self.sums if n not in _NAMED}


class IntervalAccumulator:
    """The population's running intervals; agent i lives in `envs[i]`.

    A row is due whenever an agent's steps reach a multiple of `log_every`. A life's last interval
    ends with the life, so that no row mixes two. A process that took over from a dead one begins
    a new interval, since the steps from its checkpoint on are taken again.
    """

    def __init__(self, log_every: int, envs: Sequence[str]) -> None:
        require(log_every >= 1, "log_every", log_every, "a whole number >= 1")
        self._log_every, self._envs = log_every, tuple(envs)
        self._intervals = [_Interval() for _ in self._envs]

    def add(self, report: MemberReport, moment: Moment) -> list[AgentRow]:
        """Take in one round of one agent; the rows (0 to 2) that are complete with it."""
        agent, rows = report.agent, []
        interval = self._intervals[agent]
        if report.incarnation != interval.incarnation:
            interval = interval.follow_up(report.steps)
        elif report.life != interval.life and interval.rounds:
            rows.append(self._row(agent, moment))
            interval = interval.follow_up(interval.steps)
        self._intervals[agent] = interval
        interval.add(report, moment.version)
        if interval.steps // self._log_every > interval.start // self._log_every:
            rows.append(self._row(agent, moment))
            self._intervals[agent] = interval.follow_up(interval.steps)
        return rows

    def mark(self, agent: int, state: str, restarts: int | None = None) -> None:
        """Note a state that no report tells ("restarting", "failed" ...); the next one ends it.

        A quarantine lasts until a report of another incarnation.
        """
        interval = self._intervals[agent]
        interval.state = state
        interval.restarts = interval.restarts if restarts is None else restarts

    def join(self, agent: int, env: str, incarnation: int, steps: int) -> None:
        """An agent takes a seat, the next one or one that was left."""
        interval = _Interval(start=steps, incarnation=incarnation, steps=steps)
        self._envs = (*self._envs[:agent], env, *self._envs[agent + 1 :])
        self._intervals[agent : agent + 1] = [interval]

    def leave(self, agent: int, moment: Moment) -> list[AgentRow]:
        """An agent leaves: the row of its unfinished interval, if it has begun one."""
        rows = [self._row(agent, moment)] if self._intervals[agent].rounds else []
        self._intervals[agent] = self._intervals[agent].follow_up(self._intervals[agent].steps)
        self._intervals[agent].state = _LEFT
        return rows

    def current(self, moment: Moment) -> list[AgentRow]:
        """Every agent as it is now, its unfinished interval as if it ended here."""
        agents = [a for a, interval in enumerate(self._intervals) if interval.state != _LEFT]
        return [self._row(agent, moment) for agent in agents]

    def finish(self, moment: Moment) -> list[AgentRow]:
        """The rows of the unfinished intervals, at the end of a run."""
        agents = [agent for agent, interval in enumerate(self._intervals) if interval.rounds]
        rows = [self._row(agent, moment) for agent in agents]
        for agent in agents:
            self._intervals[agent] = self._intervals[agent].follow_up(self._intervals[agent].steps)
        return rows

    def state_dict(self) -> dict[str, Any]:
        """The unfinished intervals, so that a resumed run writes the rows it would have written."""
        return {"intervals": [dataclasses.asdict(interval) for interval in self._intervals]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore. Raises `ValueError` where the population has another size."""
        intervals = [_Interval(**values) for values in state["intervals"]]
        require(
            len(intervals) == len(self._envs), "intervals", len(intervals), f"{len(self._envs)}"
        )
        self._intervals = intervals

    def _row(self, agent: int, moment: Moment) -> AgentRow:
        interval = self._intervals[agent]
        episodes = interval.episodes
        return AgentRow(
            time=moment.time,
            round=moment.round,
            version=moment.version,
            agent=agent,
            env=self._envs[agent],
            incarnation=interval.incarnation,
            steps=interval.steps,
            life=interval.life,
            life_steps=interval.life_steps,
            state=interval.state,
            episodes=episodes,
            return_mean=interval.return_sum / episodes if episodes else None,
            return_last=interval.return_last,
            episode_length=interval.length_sum / episodes if episodes else None,
            gradient_norm=interval.mean("gradient_norm"),
            lag=interval.lag,
            restarts=interval.restarts,
            q=interval.mean("q"),
            td_loss=interval.mean("td_loss"),
            objective_loss=interval.mean("objective_loss"),
            policy_gradient_norm=interval.mean("policy_gradient_norm"),
            value_after=interval.mean("value_after"),
            origin=interval.origin,
            drawn=interval.drawn,
            values=interval.measured(),
        )
