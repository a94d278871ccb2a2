"""What one process of a meta-test or baseline does, as one message that fits on a line."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Literal

from metagenrl.agents.environment.limits import EPISODE_LIMIT, START_TIMEOUT
from metagenrl.learner.hyperparams import AgentConfig, ObjectiveConfig
from metagenrl.runs.config.baselines import Algorithm, BaselineOptions

Rule = Algorithm | Literal["learned", "random"]

_OPTIONS = {field.name: getattr(BaselineOptions(), field.name) for field in fields(BaselineOptions)}


@dataclass(frozen=True)
class ObjectiveChoice:
    """The objective or algorithm that trains an agent."""

    rule: Rule
    snapshot: str = ""
    """File of the learned objective, or folder of a meta-test's rl2 policies; others have none."""
    architecture: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    """Of the learned objective and of the random control."""


@dataclass(frozen=True)
class TraineeJob(BaselineOptions):
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
    training_envs: tuple[str, ...] = ()
    """Of a meta-learner, which trains and is evaluated in each; the others have `env`."""

    @property
    def environments(self) -> tuple[str, ...]:
        """Where the agent is evaluated."""
        return self.training_envs or (self.env,)

    eval_max_steps: int = EPISODE_LIMIT
    """Steps after which an evaluation episode is cut where the environment has no time limit."""
    niceness: int = 0
    """Added to the process's, 0 ... 19: what runs beside others at low priority has more."""
    timeout: float = 0.0
    """Seconds without a step after which it counts as hung, 0: never."""
    start_timeout: float = START_TIMEOUT
    """Seconds without its first step, before which its environments are imported and made."""
    sizes: tuple[tuple[int, int], ...] = ()
    """Observation and action sizes of its environments; empty where unknown."""

    @property
    def rows(self) -> Path:
        """Its evaluations and training episodes, see `agent_files`."""
        return Path(self.folder) / f"seed-{self.seed}.jsonl"

    @property
    def log(self) -> Path:
        """What its process logged and printed."""
        return Path(self.folder) / f"seed-{self.seed}.log"

    @property
    def checkpoints(self) -> Path:
        """Folder of its complete states, gone once it is finished."""
        return Path(self.folder) / f"seed-{self.seed}.checkpoints"

    @property
    def policy(self) -> Path:
        """Folder of the policy that a meta-learner left."""
        return Path(self.folder) / f"seed-{self.seed}.policy"

    def to_json(self) -> str:
        """The job on one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str | bytes) -> TraineeJob:
        """Undo `to_json`."""
        values = json.loads(line)
        choice = values.pop("objective")
        choice["architecture"] = ObjectiveConfig(**choice["architecture"])
        values["training_envs"] = tuple(values["training_envs"])
        values["sizes"] = tuple(map(tuple, values["sizes"]))
        agent = AgentConfig(**values.pop("agent"))
        own = {name: type(default)(**values.pop(name)) for name, default in _OPTIONS.items()}
        return cls(objective=ObjectiveChoice(**choice), agent=agent, **own, **values)


def agent_for(rule: Rule, agent: AgentConfig, transitions: int = 0) -> AgentConfig:
    """The agent as the rule wants it: DDPG is TD3 without its three additions (section 9).

    `transitions` > 0 makes minibatches of that many single transitions instead of segments, the
    first of them once there are enough.
    """
    if transitions:
        starts = max(agent.learning_starts, transitions)
        agent = replace(agent, segment_length=1, batch_size=transitions, learning_starts=starts)
    if rule != "ddpg":
        return agent
    return replace(agent, twin_critics=False, policy_delay=1, target_noise=0.0)
