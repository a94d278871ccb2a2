"""Keys and values of our rows at Weights & Biases."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from metagenrl.cluster.records import AgentRow, ObjectiveRow

_AGENT_KEYS = {
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


def agent_values(row: AgentRow) -> dict[str, float | None]:
    """`agent/07/...`: what is logged of one agent's row."""
    prefix = f"agent/{row.agent:02d}"
    values = {f"{prefix}/{key}": getattr(row, field) for key, field in _AGENT_KEYS.items()}
    return {f"{prefix}/steps": row.steps} | values


def population_values(latest: Mapping[int, AgentRow]) -> dict[str, float | None]:
    """`population/...`: the agents' latest rows, environment by environment."""
    returns: dict[str, list[float]] = defaultdict(list)
    for row in latest.values():
        if row.return_mean is not None:
            returns[row.env].append(row.return_mean)
    values: dict[str, float | None] = {
        "steps": sum(row.steps for row in latest.values()) / len(latest),
        "population/restarts": sum(row.restarts for row in latest.values()),
        "population/learning": sum(row.state == "learning" for row in latest.values()),
    }
    for env, of_env in returns.items():
        prefix = f"population/{env.replace('/', '-')}"
        values[f"{prefix}/return_mean"] = sum(of_env) / len(of_env)
        values[f"{prefix}/return_min"] = min(of_env)
        values[f"{prefix}/return_max"] = max(of_env)
    return values


def objective_values(row: ObjectiveRow, agents: int) -> dict[str, float | None]:
    """`meta/...`, `objective/...` and `system/...` of one version."""
    values: dict[str, float | None] = {
        "steps": row.agent_steps / agents,
        "meta/gradient_norm": row.gradient_norm,
        "meta/update_norm": row.update_norm,
        "meta/cosine": row.cosine,
        "meta/contributors": row.contributors,
        "meta/accepted": row.accepted,
        "meta/rejected": row.rejected,
        "meta/stale": row.stale,
        "meta/duplicate": row.duplicate,
        "objective/version": row.version,
        "objective/alpha_norm": row.alpha_norm,
        "system/agent_steps_per_s": row.agent_steps_per_s,
        "system/hours": row.time / 3600,
    }
    for env, cosine in row.cosine_by_env.items():
        values[f"meta/cosine/{env.replace('/', '-')}"] = cosine
    return values
