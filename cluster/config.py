"""What each command of `metagenrl` needs to know, as frozen dataclasses.

Defaults are the paper's; `presets.py` holds the smaller ones. Construction validates what can be
judged from the values alone and raises `ValueError` with one line; what needs a look at the disk
or at an environment is checked by `validate.py`. Fields marked `OmitArgPrefixes` are flags by
their bare name (`--gamma`), other nested fields carry their section (`--objective.eta`).
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from metagenrl.cluster.algorithms import TRAITS, Algorithm
from metagenrl.cluster.held_out_config import HeldOutOptions
from metagenrl.cluster.tracking_config import TrackingOptions
from metagenrl.learner.baseline_hyperparams import OnPolicyConfig, PpoConfig, Rl2Config
from metagenrl.learner.hyperparams import AgentConfig, MetaConfig, ObjectiveConfig, require
from metagenrl.objective_server.store_address import StoreAddress
from tyro.conf import OmitArgPrefixes, Positional
from tyro.constructors import PrimitiveConstructorSpec

Engine = Literal["ray", "inprocess"]
Wandb = Literal["online", "offline", "disabled"]

StoreOption = Annotated[
    StoreAddress,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="file|redis://…",
        instance_from_str=lambda words: StoreAddress.parse(words[0]),
        is_instance=lambda value: isinstance(value, StoreAddress),
        str_from_instance=lambda address: [str(address)],
    ),
]
"""A store's address, with how `--help` shows it."""

RANDOM_OBJECTIVE = "random"
"""The value of `MetaTestConfig.objective` that names the untrained control."""


class UsageError(ValueError):
    """The user's input cannot be carried out: one line on stderr, exit code 2, no traceback."""


@dataclass(frozen=True)
class ServerOptions:
    """How the objective server closes its rounds."""

    staleness_bound: int = 0
    """Versions that a gradient may lag behind alpha; 0: synchronous rounds (the paper)."""
    quorum: float = 1.0
    """Share of the agents whose gradients close a round before its deadline."""
    quarantine_after: int = 3
    """Rejected gradients (NaN, Inf) in a row after which an agent is set aside."""

    def __post_init__(self) -> None:
        _integer_at_least(0, staleness_bound=self.staleness_bound)
        _integer_at_least(1, quarantine_after=self.quarantine_after)
        require(0.0 < self.quorum <= 1.0, "quorum", self.quorum, "a number in (0, 1]")


@dataclass(frozen=True)
class TrainConfig:
    """Meta-train a population of agents and the objective they share (Algorithm 1)."""

    envs: tuple[str, ...] = ("HalfCheetah-v5", "LunarLanderContinuous-v3")
    """Training environments; agents are spread evenly over them."""
    agents: int = 20
    """Agents in the population (Table 4)."""
    steps: int = 600_000
    """Environment steps of each agent (Table 4)."""
    seed: int = 0
    """Seed of the whole run."""
    run_dir: Path = Path("runs/paper")
    """Folder of the run; a new one unless --resume is given."""
    resume: Path | None = None
    """Run folder to go on with, from its newest complete checkpoint."""
    engine: Engine = "ray"
    """Agents as Ray actors, or all in this process."""
    checkpoint_every: int = 10_000
    """Steps of each agent between checkpoints."""
    keep_checkpoints: int = 3
    """Newest checkpoints that are kept."""
    snapshot_every: int = 1_000
    """Versions of alpha between the snapshots under objectives/."""
    log_every: int = 1_000
    """Steps of each agent between its rows in metrics.jsonl."""
    wandb: Wandb = "offline"
    """Weights & Biases logging."""
    max_restarts: int = 5
    """Restarts of one agent before it is given up."""
    round_timeout: float = 120.0
    """Seconds after which a round closes without the agents that are late."""
    agent_cpus: float | None = None
    """CPUs that Ray reserves for an actor; None: what the machine has, shared evenly."""
    agents_per_actor: int | Literal["auto"] = 1
    """Agents of one environment that share an actor and answer together; auto: as many as keep
    every core busy."""
    store: StoreOption = field(default_factory=StoreAddress)
    """The server's state: `file` (run_dir alone), or redis://:PASSWORD@HOST:PORT/DB as well
    (rediss://: TLS). The password may stand in METAGENRL_REDIS_PASSWORD; it is saved nowhere."""
    allow_redis_without_password: bool = False
    """Use a Redis on another machine although anybody who reaches it can change the run."""
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    agent: OmitArgPrefixes[AgentConfig] = field(default_factory=AgentConfig)
    meta: OmitArgPrefixes[MetaConfig] = field(default_factory=MetaConfig)
    server: OmitArgPrefixes[ServerOptions] = field(default_factory=ServerOptions)
    held_out: OmitArgPrefixes[HeldOutOptions] = field(default_factory=HeldOutOptions)
    tracking: OmitArgPrefixes[TrackingOptions] = field(default_factory=TrackingOptions)

    def __post_init__(self) -> None:
        require(len(self.envs) > 0, "envs", self.envs, "at least one environment")
        _integer_at_least(1, agents=self.agents, steps=self.steps)
        require(
            len(self.envs) <= self.agents,
            "envs",
            self.envs,
            f"no more environments than agents ({self.agents})",
        )
        _integer_at_least(0, seed=self.seed, max_restarts=self.max_restarts)
        _integer_at_least(1, checkpoint_every=self.checkpoint_every, log_every=self.log_every)
        _integer_at_least(1, keep_checkpoints=self.keep_checkpoints)
        _integer_at_least(1, snapshot_every=self.snapshot_every)
        _finite_positive("round_timeout", self.round_timeout)
        per_actor = self.agents_per_actor
        require(
            per_actor == "auto" or per_actor >= 1,
            "agents_per_actor",
            per_actor,
            "auto or a whole number >= 1",
        )
        if self.agent_cpus is not None:
            _finite_positive("agent_cpus", self.agent_cpus)
        require(
            self.wandb != "disabled" or not self.tracking.wandb_per_agent,
            "wandb_per_agent",
            True,
            "false where wandb is disabled",
        )
        _require_enough_data(self.agent, minibatches=self.meta.inner_steps + 1)
        self.held_out.check_agent(self.agent)
        require(
            self.meta.lifetime == 0 or self.meta.lifetime > self.agent.learning_starts,
            "lifetime",
            self.meta.lifetime,
            f"0, or more than learning_starts ({self.agent.learning_starts})",
        )


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """New agents that each train alone in one environment: meta-tests and baselines."""

    env: str
    """Environment that the agents train in."""
    run_dir: Path
    """New folder for the learning curves, or with --resume the one to go on with."""
    resume: bool = False
    """Go on with the seeds in run_dir that are not finished, each from its last checkpoint."""
    seeds: int = 5
    """Agents, one for each seed."""
    first_seed: int = 0
    """Seed of the first of them."""
    steps: int = 1_000_000
    """Environment steps of each agent (section 4 of the paper)."""
    workers: int = field(default_factory=lambda: available_cores())
    """Agents that train at the same time, each in its own process."""
    eval_every: int = 1_000
    """Steps between evaluations without exploration noise."""
    eval_episodes: int = 5
    """Episodes of one evaluation."""
    wandb: Wandb = "disabled"
    """Also a run at Weights & Biases, with the objective as its input, once all seeds are done."""
    agent: OmitArgPrefixes[AgentConfig] = field(default_factory=AgentConfig)

    def __post_init__(self) -> None:
        _integer_at_least(1, seeds=self.seeds, steps=self.steps, workers=self.workers)
        _integer_at_least(1, eval_every=self.eval_every, eval_episodes=self.eval_episodes)
        _integer_at_least(0, first_seed=self.first_seed)
        _require_enough_data(self.agent, minibatches=1)

    @property
    def environments(self) -> tuple[str, ...]:
        """The environments that an agent trains in."""
        return (self.env,)


@dataclass(frozen=True, kw_only=True)
class MetaTestConfig(EvaluationConfig):
    """Train new agents with a frozen objective (Algorithm 2)."""

    objective: str
    """Run folder, snapshot file, or `random` for the untrained control."""
    version: str = "best"
    """Version of alpha within a run folder: a number, `best` (by held-out evaluation) or `last`."""
    architecture: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    """Of the `random` control; a trained objective has its own and refuses another."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            bool(self.objective), "objective", self.objective, "a run folder, a snapshot, random"
        )
        require(
            self.version in ("best", "last") or self.version.isdecimal(),
            "version",
            self.version,
            "best, last or a whole number >= 0",
        )

    @property
    def requested_version(self) -> int | Literal["best", "last"]:
        """`version` as the objective server's `find_snapshot` takes it."""
        if self.version.isdecimal():
            return int(self.version)
        return "last" if self.version == "last" else "best"


@dataclass(frozen=True, kw_only=True)
class BaselineConfig(EvaluationConfig):
    """Train agents with an algorithm that MetaGenRL is compared with (appendix B.3)."""

    algo: Algorithm
    """Algorithm that trains the agents; `--algo epg --help` tells of epg's own options."""
    env: str = ""
    """Environment that the agents train in (a meta-learner may take several: --envs)."""
    phase: Literal["train"] | None = None
    """Of a meta-learner (rl2): `train` in --envs; the other phase is `metagenrl test`."""
    envs: tuple[str, ...] = ()
    """Training environments of a meta-learner (rl2)."""
    transitions: int = 0
    """Single transitions in a minibatch (td3, ddpg; 256 is their standard); 0: segments."""
    on_policy: OmitArgPrefixes[OnPolicyConfig] = field(default_factory=OnPolicyConfig)
    ppo: PpoConfig = field(default_factory=PpoConfig)
    rl2: Rl2Config = field(default_factory=Rl2Config)

    def __post_init__(self) -> None:
        super().__post_init__()
        _integer_at_least(0, transitions=self.transitions)
        self._check_environments()
        traits = TRAITS[self.algo]
        require(not traits.own_options, "algo", self.algo, "as a flag: it has options of its own")
        allowed = f"at most replay_capacity ({self.agent.replay_capacity})"
        most = self.agent.replay_capacity if traits.single_transitions else 0
        allowed = allowed if most else f"0 with {self.algo}; td3 and ddpg take others"
        require(self.transitions <= most, "transitions", self.transitions, allowed)
        if traits.on_policy:
            rollout = self.on_policy.rollout_steps
            require(
                rollout <= self.steps, "rollout_steps", rollout, f"at most steps ({self.steps})"
            )

    @property
    def environments(self) -> tuple[str, ...]:
        """The environments that an agent trains in: of a meta-learner, all of them."""
        return self.envs or (self.env,)

    def _check_environments(self) -> None:
        if TRAITS[self.algo].meta_learner:
            require(
                bool(self.env) != bool(self.envs),
                "envs",
                self.envs,
                "training environments, or --env for a single one",
            )
            return
        if not self.env:
            raise UsageError("env: missing, allowed: text")
        for name, value in (("envs", self.envs), ("phase", self.phase)):
            require(not value, name, value, f"nothing with {self.algo}, which takes one --env")


@dataclass(frozen=True)
class ShowConfig:
    """Describe a saved objective."""

    file: Positional[Path]
    """Snapshot of an objective, as found under objectives/ of a run folder."""


@dataclass(frozen=True, kw_only=True)
class WorkspaceConfig:
    """Save the Weights & Biases workspace that shows a run's population."""

    run: Positional[Path]
    """Run folder; its environments and agents decide which panels there are."""
    entity: str = ""
    """Account or team at Weights & Biases that gets the workspace."""
    project: str = "metagenrl"
    """Project of the run."""
    out: Path | None = None
    """File for the workspace's definition instead of saving it; needs no account."""


def available_cores() -> int:
    """Cores that this process may use, which a container can make fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _require_enough_data(agent: AgentConfig, minibatches: int) -> None:
    """The first update draws disjoint minibatches, one segment start a step at most."""
    needed = agent.batch_size * minibatches
    require(
        needed <= agent.learning_starts,
        "learning_starts",
        agent.learning_starts,
        f"at least {needed}, the segments of {minibatches} minibatch(es) of {agent.batch_size}",
    )
    require(
        agent.replay_capacity >= agent.learning_starts,
        "replay_capacity",
        agent.replay_capacity,
        f"at least learning_starts ({agent.learning_starts})",
    )


def _integer_at_least(bound: int, **values: int) -> None:
    for name, value in values.items():
        require(value >= bound, name, value, f"a whole number >= {bound}")


def _finite_positive(name: str, value: float) -> None:
    require(value > 0 and math.isfinite(value), name, value, "a finite number > 0")
