"""From rows to the keys and values that trackers show; `keys` says what they mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from metagenrl.analysis.mean_steps import MeanSteps
from metagenrl.analysis.protocol.aggregates import interquartile_mean
from metagenrl.learner.measures import MEASURES
from metagenrl.runs.rows import AgentRow, EventRow, MetricsRow, ObjectiveRow
from metagenrl.runs.run_records import GIVEN_UP, HeldOutRow, ScoreRow, SystemRow
from metagenrl.tracking.keys import AXIS, WAITING

Values = dict[str, float]

_AGENT_KEYS = {
    "steps": "steps",
    "return": "return_mean",
    "episode_length": "episode_length",
    "q": "q",
    "td_loss": "td_loss",
    "objective_loss": "objective_loss",
    "policy_gradient_norm": "policy_gradient_norm",
    "gradient_norm": "gradient_norm",
    "value_after": "value_after",
    "lag": "lag",
    "life": "life",
    "restarts": "restarts",
}


class ValueTable:
    """Turns rows into values, remembering each agent's last one for the population's."""

    def __init__(self, agents: int) -> None:
        self._mean_steps = MeanSteps(agents)
        self._steps = 0.0  # the axis, which never goes back
        self._rows: dict[int, AgentRow] = {}
        self._returns: dict[int, float] = {}  # last known, also where an interval has no episode
        self._trials: dict[tuple[int, str], list[HeldOutRow]] = {}
        self._given_up = 0

    def values(self, rows: Sequence[MetricsRow]) -> Values:
        """The values of `rows` by key; of two values of a key the later one counts."""
        values: dict[str, float | None] = {}
        for row in rows:
            if isinstance(row, AgentRow):
                self._remember(row)
                values |= agent_values(row)
            elif isinstance(row, ObjectiveRow):
                values |= objective_values(row) | self._axis(self._mean_steps.at(row.agent_steps))
            elif isinstance(row, SystemRow):
                values |= system_values(row) | self._axis(self._mean_steps.at(row.agent_steps))
            elif isinstance(row, HeldOutRow):
                self._trials.setdefault((row.version, row.env), []).append(row)
            elif isinstance(row, EventRow):
                self._given_up += row.what == GIVEN_UP
                self._change(row)
            elif isinstance(row, ScoreRow):
                values |= self._held_out_values(row)
        if self._rows and any(isinstance(row, AgentRow) for row in rows):
            mean = sum(row.steps for row in self._rows.values()) / len(self._rows)
            values |= population_values(self._rows, self._returns) | self._axis(mean)
        return {name: float(value) for name, value in values.items() if value is not None}

    def _axis(self, steps: float) -> dict[str, float | None]:
        """Agents write their rows at different times: the mean of the latest may lag behind."""
        self._steps = max(self._steps, steps)
        return {AXIS: self._steps}

    def _change(self, event: EventRow) -> None:
        """The population grew, or an agent left it: its last row is nobody's any more."""
        if event.what == "joined":
            self._mean_steps.change(1)
        elif event.what == "left" and event.agent is not None:
            self._mean_steps.change(-1)
            self._rows.pop(event.agent, None)
            self._returns.pop(event.agent, None)

    def _remember(self, row: AgentRow) -> None:
        before = self._rows.get(row.agent)
        if before is not None and before.life != row.life:
            self._returns.pop(row.agent, None)  # what a former life reached is no news
        if row.return_mean is not None:
            self._returns[row.agent] = row.return_mean
        self._rows[row.agent] = row

    def _held_out_values(self, row: ScoreRow) -> dict[str, float | None]:
        values: dict[str, float | None] = {
            "heldout/steps": self._mean_steps.at(row.agent_steps),
            "heldout/version": row.version,
            "heldout/score": row.score,
            "heldout/best_version": row.best_version,
            "heldout/best_score": row.best_score,
            "heldout/given_up": self._given_up,
        }
        for env, mean in row.return_by_env.items():
            trials = self._trials.pop((row.version, env), [])
            returns = [trial.return_mean for trial in trials if trial.return_mean is not None]
            prefix = f"heldout/{label(env)}"
            values[f"{prefix}/return"] = mean
            values[f"{prefix}/return_min"] = min(returns, default=None)
            values[f"{prefix}/return_max"] = max(returns, default=None)
        return values


def label(env: str) -> str:
    """An environment's name as a part of a key."""
    return env.replace("/", "-")


def agent_values(row: AgentRow) -> dict[str, float | None]:
    """`agent/07/...`: what is shown of one agent's row."""
    prefix = f"agent/{row.agent:02d}"
    known = {f"{prefix}/{key}": getattr(row, field) for key, field in _AGENT_KEYS.items()}
    return known | {f"{prefix}/{each.name}": row.values.get(each.name) for each in MEASURES}


def by_agent(values: Values) -> dict[str, Values]:
    """Agents' values by their number, the keys without `agent/07/`."""
    found: dict[str, Values] = {}
    for name, value in values.items():
        first, _, rest = name.partition("/")
        if first == "agent":
            agent, _, key = rest.partition("/")
            found.setdefault(agent, {})[key] = value
    return found


def population_values(
    rows: Mapping[int, AgentRow], returns: Mapping[int, float]
) -> dict[str, float | None]:
    """`population/...`: the agents' latest rows and returns, environment by environment."""
    values: dict[str, float | None] = {
        "population/restarts": sum(row.restarts for row in rows.values()),
        "population/learning": sum(row.state == "learning" for row in rows.values()),
    }
    for env in sorted({row.env for row in rows.values()}):
        of_env = [value for agent, value in returns.items() if rows[agent].env == env]
        if of_env:
            prefix = f"population/{label(env)}/return_"
            values |= {f"{prefix}{name}": v for name, v in return_statistics(of_env).items()}
    return values


def return_statistics(returns: Sequence[float]) -> dict[str, float]:
    """Interquartile mean (as rliable defines it), quartiles, mean and range."""
    ordered = np.sort(returns)
    q25, median, q75 = np.quantile(ordered, [0.25, 0.5, 0.75])
    return {
        "iqm": float(interquartile_mean(ordered)),
        "median": float(median),
        "q25": float(q25),
        "q75": float(q75),
        "mean": float(ordered.mean()),
        "min": float(ordered[0]),
        "max": float(ordered[-1]),
    }


def objective_values(row: ObjectiveRow) -> dict[str, float | None]:
    """`meta/...` and `objective/...` of one version."""
    values: dict[str, float | None] = {
        "meta/gradient_norm": row.gradient_norm,
        "meta/update_norm": row.update_norm,
        "meta/cosine": row.cosine,
        "meta/contributors": row.contributors,
        "meta/accepted": row.accepted,
        "meta/rejected": row.rejected,
        "meta/stale": row.stale,
        "meta/duplicate": row.duplicate,
        "objective/version": row.version,
        "objective/norm": row.alpha_norm,
    }
    for env, cosine in row.cosine_by_env.items():
        values[f"meta/cosine/{label(env)}"] = cosine
    return values


def system_values(row: SystemRow) -> dict[str, float | None]:
    """`system/...`, `server/...` and what is left to test."""
    return {
        "system/agent_steps_per_s": row.agent_steps_per_s,
        "system/hours": row.time / 3600,
        "system/rss": row.rss,
        "system/rss_driver": row.rss_driver,
        "system/processes": row.processes,
        "server/lag": row.lag_mean,
        "server/lag_max": row.lag_max,
        WAITING: row.held_out_waiting,
    }
