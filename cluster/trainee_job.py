"""What one process of a meta-test or baseline does, as one message that fits on a line."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from metagenrl.learner.hyperparams import AgentConfig, ObjectiveConfig

Rule = Literal["learned", "random", "td3", "ddpg", "reinforce-off"]


@dataclass(frozen=True)
class ObjectiveChoice:
    """The objective that trains an agent."""

    rule: Rule
    snapshot: str = ""
    """File of the learned objective; the other rules have none."""
    architecture: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    """Of the learned objective and of the random control."""


@dataclass(frozen=True)
class TraineeJob:
    """One agent: its environment, its objective and when it is evaluated."""

    env: str
    seed: int
    label: str
    """Name of the objective in the rows."""
    steps: int
    """Environment steps of the agent's life."""
    eval_every: int
    """Steps between evaluations; there is also one before the first step and after the last."""
    eval_episodes: int
    folder: str
    """Where the files of all seeds lie."""
    agent: AgentConfig
    objective: ObjectiveChoice
    niceness: int = 0
    """Added to the process's, 0 ... 19: what runs beside others at low priority has more."""

    @property
    def rows(self) -> Path:
        """Its evaluations and training episodes, see `seed_rows`."""
        return Path(self.folder) / f"seed-{self.seed}.jsonl"

    @property
    def log(self) -> Path:
        """What its process logged and printed."""
        return Path(self.folder) / f"seed-{self.seed}.log"

    @property
    def checkpoints(self) -> Path:
        """Folder of its complete states, gone once it is finished."""
        return Path(self.folder) / f"seed-{self.seed}.checkpoints"

    def to_json(self) -> str:
        """The job on one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str | bytes) -> TraineeJob:
        """Undo `to_json`."""
        fields = json.loads(line)
        choice = fields.pop("objective")
        choice["architecture"] = ObjectiveConfig(**choice["architecture"])
        agent = AgentConfig(**fields.pop("agent"))
        return cls(agent=agent, objective=ObjectiveChoice(**choice), **fields)


def agent_for(rule: Rule, agent: AgentConfig) -> AgentConfig:
    """The agent as the rule wants it: DDPG is TD3 without its three additions (section 9)."""
    if rule != "ddpg":
        return agent
    return replace(agent, twin_critics=False, policy_delay=1, target_noise=0.0)
