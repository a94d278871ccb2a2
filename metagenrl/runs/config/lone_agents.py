"""What meta-tests and baselines need to know: agents that each train alone in one environment.

As in `train`: defaults are the paper's, construction validates.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tyro.conf import OmitArgPrefixes

from metagenrl.agents.environment.limits import EPISODE_LIMIT, START_TIMEOUT
from metagenrl.base.checks import (
    UsageError,
    count,
    finite_positive,
    integer_at_least,
    require,
    seed_range,
)
from metagenrl.base.process import available_cores
from metagenrl.learner.hyperparams import AgentConfig, ObjectiveConfig
from metagenrl.objective_server.snapshots.pretrained import PRETRAINED
from metagenrl.objective_server.snapshots.version import Version, version_of
from metagenrl.runs.config.baselines import (
    BASELINES,
    Algorithm,
    BaselineOptions,
    OnPolicyConfig,
)
from metagenrl.runs.config.environments import EnvironmentText, fold
from metagenrl.runs.config.train import Wandb, require_enough_data

RANDOM_OBJECTIVE = "random"
"""The value of `MetaTestConfig.objective` that names the untrained control."""


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """New agents that each train alone in one environment: meta-tests and baselines."""

    env: EnvironmentText
    """Environment that the agents train in."""
    env_kwargs: tuple[str, ...] = ()
    """Arguments that the environment is made with, `key=value …`; a range is drawn for each life:
    `gravity='{uniform: [6, 12]}'`."""
    env_wrappers: tuple[str, ...] = ()
    """Wrappers around it, `module:Wrapper …`, the innermost first."""
    env_start_timeout: float = START_TIMEOUT
    """Seconds that making an environment and its first reset may take."""
    run_dir: Path
    """New folder for the learning curves, or with --resume the one to go on with."""
    resume: bool = False
    """Go on with the seeds in run_dir that are not finished, each from its last checkpoint; what is
    not given is as in that folder."""
    take_over: bool = False
    """Go on with a folder whose process was on another machine, once that one has been silent."""
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
    eval_max_steps: int = EPISODE_LIMIT
    """Steps after which an evaluation episode is cut where the environment has no time limit."""
    wandb: Wandb = "disabled"
    """Also a run at Weights & Biases, with the objective as its input, once all seeds are done."""
    agent: OmitArgPrefixes[AgentConfig] = field(default_factory=AgentConfig)

    def __post_init__(self) -> None:
        count(seeds=self.seeds, workers=self.workers)
        integer_at_least(1, steps=self.steps)
        integer_at_least(1, eval_every=self.eval_every, eval_episodes=self.eval_episodes)
        integer_at_least(1, eval_max_steps=self.eval_max_steps)
        finite_positive("env_start_timeout", self.env_start_timeout)
        seed_range("first_seed", self.first_seed, self.seeds)
        require_enough_data(self.agent, minibatches=1)
        fold(self, *(name for name in ("env", "envs") if hasattr(self, name)))

    @property
    def environments(self) -> tuple[str, ...]:
        """The environments that an agent trains in."""
        return (self.env,)


@dataclass(frozen=True, kw_only=True)
class MetaTestConfig(EvaluationConfig):
    """Train new agents with a frozen objective (Algorithm 2)."""

    objective: str
    """Run folder, snapshot file, `pretrained[:NAME]` for one that comes with the package (see
    `metagenrl objective list`), or `random` for the untrained control."""
    version: str = "best"
    """Version of alpha within a run folder: a number, `best` (by held-out evaluation) or `last`."""
    architecture: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    """Of the `random` control; a trained objective has its own and refuses another."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.env), "env", self.env, "an environment's id")
        require(
            bool(self.objective),
            "objective",
            self.objective,
            f"a run folder, a snapshot, {PRETRAINED}, random",
        )
        version_of(self.version)

    @property
    def wanted(self) -> Version:
        """`version` as `find_snapshot` takes it."""
        return version_of(self.version)


@dataclass(frozen=True, kw_only=True)
class BaselineConfig(EvaluationConfig, BaselineOptions):
    """Train agents with an algorithm that MetaGenRL is compared with (appendix B.3)."""

    algo: Algorithm
    """Algorithm that trains the agents; `--algo epg --help` tells of epg's own options."""
    env: EnvironmentText = ""
    """Environment that the agents train in (a meta-learner may take several: --envs)."""
    phase: Literal["train"] | None = None
    """Of a meta-learner (rl2): `train` in --envs; the other phase is `metagenrl test`."""
    envs: tuple[EnvironmentText, ...] = ()
    """Training environments of a meta-learner (rl2)."""
    transitions: int = 0
    """Single transitions in a minibatch, where the algorithm takes them (td3: 256); 0: segments."""
    on_policy: OmitArgPrefixes[OnPolicyConfig] = field(default_factory=OnPolicyConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        integer_at_least(0, transitions=self.transitions)
        self._check_environments()
        traits = BASELINES[self.algo]
        require(not traits.own_options, "algo", self.algo, "as a flag: it has options of its own")
        self.require_read_by(self.algo)
        allowed = f"at most replay_capacity ({self.agent.replay_capacity})"
        most = self.agent.replay_capacity if traits.single_transitions else 0
        single = ", ".join(name for name, one in BASELINES.items() if one.single_transitions)
        allowed = allowed if most else f"0 with {self.algo}; {single} take others"
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
        if BASELINES[self.algo].meta_learner:
            beside = f"nothing beside the environments of --envs, {', '.join(self.envs)}"
            require(not (self.env and self.envs), "env", self.env, beside)
            either = "training environments, or --env for a single one"
            require(bool(self.env or self.envs), "envs", self.envs, either)
            return
        learners = ", ".join(name for name, one in BASELINES.items() if one.meta_learner)
        phases = f"nothing with {self.algo}, which has no phases; {learners} have"
        require(not self.phase, "phase", self.phase, phases)
        require(
            not self.envs, "envs", self.envs, f"nothing with {self.algo}, which takes one --env"
        )
        if not self.env:
            raise UsageError("env: missing, allowed: text")
