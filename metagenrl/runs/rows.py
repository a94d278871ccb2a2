"""Rows of a run's files, and how any row is read and written.

`metrics.jsonl` is written while meta-training, `evaluations.jsonl` by tests. Here are the rows of
agents, versions of alpha, events and evaluations; `run_records` has those about the run as a whole.
A row is one line of JSON with its `kind`. What is not known or not finite is null there and None
here, so that every reader of JSON can read the file.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from metagenrl.runs.run_records import HeldOutRow, ScoreRow, SnapshotRow, SystemRow

if TYPE_CHECKING:  # the logs are read without numpy and torch
    from metagenrl.objective_server.answers import RoundReport, Totals


@dataclass(frozen=True)
class AgentRow:
    """One interval of one agent; means are over the interval's rounds."""

    kind: ClassVar[str] = "agent"

    time: float  # seconds since the run started
    round: int
    version: int  # of alpha
    agent: int
    env: str
    incarnation: int
    steps: int  # environment steps over all lives, at the interval's end
    life: int
    life_steps: int
    state: str  # "starting", "random", "learning", "restarting", "failed", "quarantined" ...
    episodes: int  # that ended in the interval
    return_mean: float | None  # undiscounted, over these episodes; None: there are none
    return_last: float | None
    episode_length: float | None  # mean, steps
    q: float | None
    td_loss: float | None
    objective_loss: float | None
    policy_gradient_norm: float | None
    gradient_norm: float | None  # of the meta-gradient, before it is scaled
    value_after: float | None
    lag: int  # versions that the interval's last gradient was behind alpha
    restarts: int
    origin: int | None = None  # agent's step of the policy that its life began with; None: new


@dataclass(frozen=True)
class ObjectiveRow:
    """One version of the objective; the counts of gradients are totals since the run started."""

    kind: ClassVar[str] = "objective"

    time: float  # seconds since the run started
    round: int
    version: int
    contributors: int  # agents
    gradient_norm: float | None  # of the mean gradient
    update_norm: float | None
    alpha_norm: float | None
    cosine: float | None  # mean over the pairs of agents
    cosine_by_env: dict[str, float]
    accepted: int
    rejected: int
    stale: int
    duplicate: int
    agent_steps: int  # of the whole population
    agent_steps_per_s: float | None
    applied: tuple[str, ...] = ()  # identity of each gradient: "agent.incarnation.round.version"


@dataclass(frozen=True)
class EventRow:
    """Something that happened: a restart, a checkpoint, a rebirth, a quarantine."""

    kind: ClassVar[str] = "event"

    time: float  # seconds since the run started
    round: int
    what: str
    agent: int | None
    message: str


@dataclass(frozen=True)
class EvaluationRow:
    """One evaluation of an agent that trains alone: a point of a learning curve."""

    kind: ClassVar[str] = "evaluation"

    label: str  # what trains it: "learned objective v12000", "random objective", "td3"
    env: str
    seed: int
    steps: int  # environment steps it has trained for
    return_mean: float | None
    returns: tuple[float, ...]  # undiscounted, one per episode


MetricsRow = AgentRow | ObjectiveRow | EventRow | SnapshotRow | SystemRow | HeldOutRow | ScoreRow
Row = MetricsRow | EvaluationRow

_CLASSES: dict[str, type[Any]] = {
    cls.kind: cls
    for cls in (
        AgentRow, ObjectiveRow, EventRow, EvaluationRow, SnapshotRow, SystemRow, HeldOutRow,
        ScoreRow,
    )
}  # fmt: skip
_REQUIRED = {
    kind: tuple(f.name for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING)
    for kind, cls in _CLASSES.items()
}
_OPTIONAL = {
    kind: tuple(f.name for f in dataclasses.fields(cls) if f.default is not dataclasses.MISSING)
    for kind, cls in _CLASSES.items()
}


def to_line(row: Row) -> str:
    """The row as one line of JSON, newline included."""
    values = {"kind": row.kind} | {name: _finite(value) for name, value in vars(row).items()}
    return json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n"


def from_line(line: str | bytes, kind: str | None = None) -> Row:
    """The row in a line; `kind` is what a line without one is.

    Fields that this version does not know are ignored. Raises `ValueError` for anything that is
    no complete row.
    """
    values = json.loads(line if isinstance(line, str) else line.decode())
    if not isinstance(values, dict):
        raise ValueError("row: not a JSON object")
    kind = values.get("kind", kind)
    if kind not in _CLASSES:
        raise ValueError(f"kind: got {kind!r}, allowed: {', '.join(_CLASSES)}")
    try:  # a run has half a million rows: each field is touched once
        known = {name: values[name] for name in _REQUIRED[kind]}
    except KeyError:
        missing = [name for name in _REQUIRED[kind] if name not in values]
        raise ValueError(f"{kind} row: {', '.join(missing)} missing") from None
    known.update({name: values[name] for name in _OPTIONAL[kind] if name in values})
    row: Row = _CLASSES[kind](**{k: tuple(v) if type(v) is list else v for k, v in known.items()})
    return row


def objective_row(
    report: RoundReport,
    totals: Totals,
    *,
    version: int,
    alpha_norm: float,
    time: float,
    agent_steps: int,
    agent_steps_per_s: float | None,
) -> ObjectiveRow:
    """The row of a closed round; `version` is the one that the round led to."""
    return ObjectiveRow(
        time=time,
        round=report.round,
        version=version,
        contributors=len(report.contributors),
        gradient_norm=_finite(report.gradient_norm),
        update_norm=_finite(report.update_norm),
        alpha_norm=_finite(alpha_norm),
        cosine=_finite(report.cosines.overall),
        cosine_by_env=_finite(report.cosines.by_environment),
        accepted=totals.accepted,
        rejected=totals.rejected,
        stale=totals.stale,
        duplicate=totals.duplicate,
        agent_steps=agent_steps,
        agent_steps_per_s=agent_steps_per_s,
        applied=tuple(".".join(map(str, key)) for key in report.applied_gradients),
    )


def _finite(value: Any) -> Any:
    """`value` with None for every float that JSON cannot hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
