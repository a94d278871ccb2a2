"""What each command of `metagenrl` needs to know, as frozen dataclasses.

Defaults are the paper's; `presets.py` holds the smaller ones. Construction validates what can be
judged from the values alone and raises `ValueError` with one line; what needs a look at the disk
or at an environment is checked by `commands.refusals`. Fields marked `OmitArgPrefixes` are flags by
their bare name (`--gamma`), other nested fields carry their section (`--objective.eta`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes
from tyro.constructors import PrimitiveConstructorSpec

from metagenrl.agents.environment.limits import ANSWER_TIMEOUT, START_TIMEOUT
from metagenrl.base.checks import count, finite_positive, integer_at_least, require, seed_range
from metagenrl.learner.hyperparams import (
    NATIVE_UNITS,
    AgentConfig,
    BackendName,
    Device,
    MetaConfig,
    ObjectiveConfig,
)
from metagenrl.objective_server.store.address import StoreAddress
from metagenrl.runs.config.environments import EnvironmentText, fold, seating
from metagenrl.runs.config.held_out import HeldOutOptions

EngineName = Literal["ray", "inprocess"]
WorkerStart = Literal["fork", "spawn"]
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
        integer_at_least(0, staleness_bound=self.staleness_bound)
        integer_at_least(1, quarantine_after=self.quarantine_after)
        require(0.0 < self.quorum <= 1.0, "quorum", self.quorum, "a number in (0, 1]")


@dataclass(frozen=True)
class TrackingOptions:
    """Trackers; none of them changes what a run computes."""

    wandb_per_agent: bool = False
    """Also a run of its own at Weights & Biases for each agent, in one group."""
    tensorboard: bool = False
    """Write TensorBoard's event files to tensorboard/ in the run's folder."""


@dataclass(frozen=True)
class TrainConfig:
    """Meta-train a population of agents and the objective they share (Algorithm 1)."""

    envs: tuple[EnvironmentText, ...] = ("HalfCheetah-v5", "LunarLanderContinuous-v3")
    """Training environments; agents are spread evenly over them."""
    env_kwargs: tuple[str, ...] = ()
    """Arguments that the environments are made with, `key=value …`; a range is drawn for each life:
    `gravity='{uniform: [6, 12]}'`."""
    env_wrappers: tuple[str, ...] = ()
    """Wrappers around them, `module:Wrapper …`, the innermost first."""
    agents_per_env: tuple[int, ...] = ()
    """Agents of each environment, in the order of envs; none: spread evenly."""
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
    take_over: bool = False
    """Go on with a folder whose process was on another machine, once that one has been silent."""
    engine: EngineName = "ray"
    """Agents as Ray actors, or all in this process."""
    worker_start: WorkerStart = "fork"
    """How the workers of a Ray begin that the run starts itself. `fork`: each is forked from a
    process that has everything imported (Linux, device cpu). `spawn`: each starts from nothing."""
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
    cluster_cpus: int = 0
    """CPUs that the Ray cluster needs before agents start; its autoscaler is asked for them. 0: the
    CPUs that are there."""
    cluster_wait: float = 600.0
    """Seconds to wait for `cluster_cpus` before the run is refused."""
    agents_per_actor: int | Literal["auto"] = 1
    """Agents of one environment that share an actor and answer together; auto: as many as keep
    every core, or with device cuda every GPU, busy."""
    backend: BackendName = "auto"
    """What computes updates on a CPU. `native`: C, for networks of at most 128 units. `reference`:
    torch, all agents of an actor at once. `auto`: the fastest for these networks and this
    processor, which is native or the reference with one agent after the other. Device cuda takes
    the reference."""
    device: Device = "cpu"
    """Where agents learn; with --agents-per-actor auto all of them share one GPU."""
    env_workers: int | Literal["auto"] = "auto"
    """Processes that step the environments of an actor, beside the updates; 0: none. auto: none on
    cpu; on cuda as many as this machine has cores, less one."""
    env_timeout: float = ANSWER_TIMEOUT
    """Seconds that such a process may take for a step before it counts as hung."""
    env_start_timeout: float = START_TIMEOUT
    """Seconds that making an environment and its first reset may take."""
    store: StoreOption = field(default_factory=StoreAddress)
    """Where the server keeps its state: `file` (run_dir alone), or redis://:PASSWORD@HOST:PORT/DB
    beside it (rediss://: TLS). The password may stand in METAGENRL_REDIS_PASSWORD; it is saved
    nowhere."""
    allow_redis_without_password: bool = False
    """Accept a Redis without a password on another machine: anybody who reaches it can change the
    run."""
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    agent: OmitArgPrefixes[AgentConfig] = field(default_factory=AgentConfig)
    meta: OmitArgPrefixes[MetaConfig] = field(default_factory=MetaConfig)
    server: OmitArgPrefixes[ServerOptions] = field(default_factory=ServerOptions)
    held_out: OmitArgPrefixes[HeldOutOptions] = field(default_factory=HeldOutOptions)
    tracking: OmitArgPrefixes[TrackingOptions] = field(default_factory=TrackingOptions)

    def __post_init__(self) -> None:
        require(len(self.envs) > 0, "envs", self.envs, "at least one environment")
        count(agents=self.agents)
        integer_at_least(1, steps=self.steps)
        require(
            len(self.envs) <= self.agents,
            "envs",
            self.envs,
            f"no more environments than agents ({self.agents})",
        )
        self._check_environments()
        seed_range("seed", self.seed)
        integer_at_least(0, max_restarts=self.max_restarts)
        integer_at_least(1, checkpoint_every=self.checkpoint_every, log_every=self.log_every)
        integer_at_least(1, keep_checkpoints=self.keep_checkpoints)
        integer_at_least(1, snapshot_every=self.snapshot_every)
        finite_positive("round_timeout", self.round_timeout)
        integer_at_least(0, cluster_cpus=self.cluster_cpus)
        finite_positive("cluster_wait", self.cluster_wait)
        per_actor = self.agents_per_actor
        require(
            per_actor == "auto" or per_actor >= 1,
            "agents_per_actor",
            per_actor,
            "auto or a whole number >= 1",
        )
        self._check_backend()
        if self.agent_cpus is not None:
            finite_positive("agent_cpus", self.agent_cpus)
        require(
            self.wandb != "disabled" or not self.tracking.wandb_per_agent,
            "wandb_per_agent",
            True,
            "false where wandb is disabled",
        )
        require_enough_data(self.agent, minibatches=self.meta.inner_steps + 1)
        self.held_out.check_agent(self.agent)
        require(
            self.meta.lifetime == 0 or self.meta.lifetime > self.agent.learning_starts,
            "lifetime",
            self.meta.lifetime,
            f"0, or more than learning_starts ({self.agent.learning_starts})",
        )

    def _check_environments(self) -> None:
        """Their texts, the agents of each and how long they may take."""
        fold(self, "envs")
        finite_positive("env_timeout", self.env_timeout)
        finite_positive("env_start_timeout", self.env_start_timeout)
        each = self.agents_per_env
        require(
            not each or (len(each) == len(self.envs) and min(each) >= 1),
            "agents_per_env",
            each,
            f"a number >= 1 for each of the {len(self.envs)} environments",
        )
        allowed = f"numbers that add up to agents ({self.agents})"
        require(not each or sum(each) == self.agents, "agents_per_env", each, allowed)

    @property
    def seating(self) -> tuple[int, ...]:
        """The place in `envs` of each agent's environment."""
        return seating(self.envs, self.agents, self.agents_per_env)

    @property
    def rounds(self) -> int:
        """Rounds of Algorithm 1 that an agent needs for its steps."""
        return -(-self.steps // self.agent.policy_delay)

    @property
    def agent_steps(self) -> int:
        """Environment steps of all agents together."""
        return self.agents * self.steps

    @property
    def agent_envs(self) -> tuple[str, ...]:
        """The environment of each agent that the run begins with."""
        return tuple(self.env_of(agent) for agent in range(self.agents))

    def env_of(self, agent: int) -> str:
        """The environment of an agent, also of one that joined later."""
        if not self.agents_per_env:
            return self.envs[agent % len(self.envs)]
        return self.envs[self.seating[agent % self.agents]]

    def _check_backend(self) -> None:
        gpu, units = self.device == "cuda", self.agent.hidden_units
        native = not gpu and units <= NATIVE_UNITS
        allowed = "auto, reference " + ("on cuda" if gpu else f"for hidden_units {units}")
        require(native or self.backend != "native", "backend", self.backend, allowed)
        workers = self.env_workers
        require(workers == "auto" or workers >= 0, "env_workers", workers, "auto, or 0 and more")


def require_enough_data(agent: AgentConfig, minibatches: int) -> None:
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
