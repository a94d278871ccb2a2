"""Rows of a run's files, and how any row is read and written.

`metrics.jsonl` is written while meta-training, `evaluations.jsonl` by tests. Here are the rows of
agents, versions of alpha, events and evaluations; `run_records` has those about the run as a whole.
A row is one line of JSON with its `kind`. What is not known or not finite is null there and None
here, so that every reader of JSON can read the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from metagenrl.runs.run_records import HeldOutRow, ScoreRow, SnapshotRow, SystemRow


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
    drawn: str | None = None  # the environment with what its ranges gave this life; None: none
    values: dict[str, float] = field(default_factory=dict)
    """By `Measure.name`: means over the interval's measurements."""


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
    cut: int = 0  # of these episodes: the environment has no limit and `eval_max_steps` ended them
    drawn: str | None = None  # the environment with what its ranges gave this agent; None: none


MetricsRow = AgentRow | ObjectiveRow | EventRow | SnapshotRow | SystemRow | HeldOutRow | ScoreRow
Row = MetricsRow | EvaluationRow


@dataclass(frozen=True)
class Moment:
    """Where the run is."""

    time: float  # seconds since the run started
    round: int
    version: int  # the server's; of the alpha that a punctual gradient was computed with
