"""What `metagenrl baseline --algo epg --phase train` needs to know."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tyro.conf import OmitArgPrefixes

from metagenrl.agents.environment.limits import EPISODE_LIMIT, START_TIMEOUT
from metagenrl.base.checks import count, require, require_at_least, require_positive, seed_range
from metagenrl.base.process import available_cores
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.runs.config.environments import EnvironmentText, fold
from metagenrl.runs.config.epg_config import EpgConfig, EvolutionConfig
from metagenrl.runs.config.presets import PresetName
from metagenrl.runs.config.train import EngineName

KIND = "epg"
"""Value of `kind` in the configuration of an evolved loss's snapshot."""


def is_epg(snapshot: ObjectiveSnapshot) -> bool:
    """Whether it holds an evolved loss, and not an objective of MetaGenRL."""
    return snapshot.config.get("kind") == KIND


@dataclass(frozen=True, kw_only=True)
class EpgTrainConfig:
    """Evolve a loss that trains policies (Evolved Policy Gradients; appendix B.3)."""

    algo: Literal["epg"] = "epg"
    """The meta-learner."""
    phase: Literal["train"] = "train"
    """Meta-training; `metagenrl test --objective RUN_DIR` is the other phase."""
    envs: tuple[EnvironmentText, ...] = ()
    """Training environments; a generation's noise vectors are dealt to them in turn."""
    env: EnvironmentText = ""
    """A single training environment, instead of --envs."""
    env_kwargs: tuple[str, ...] = ()
    """Arguments that the environments are made with, `key=value …`; a range is drawn for each life:
    `gravity='{uniform: [6, 12]}'`."""
    env_wrappers: tuple[str, ...] = ()
    """Wrappers around them, `module:Wrapper …`, the innermost first."""
    env_start_timeout: float = START_TIMEOUT
    """Seconds that making an environment and its first reset may take."""
    run_dir: Path
    """New folder for the run, or with --resume the one to go on with."""
    resume: bool = False
    """Go on with the run in run_dir from its newest complete generation."""
    take_over: bool = False
    """Go on with a folder whose process was on another machine, once that one has been silent."""
    seeds: int = 1
    """Losses that are evolved side by side; where there are several, each in a folder seed-N."""
    seed: int = 0
    """Seed of the first of them; the others take the next ones."""
    engine: EngineName = "ray"
    """Inner loops in Ray actors, or all in this process."""
    workers: int = field(default_factory=lambda: available_cores())
    """Inner loops at the same time, each in an actor of its own."""
    worker_cpus: float | None = None
    """CPUs that Ray reserves for a worker; None: what the machine has, shared evenly."""
    updates: int = 128
    """Policy updates of an inner loop, `update_every` steps apart (section B.3)."""
    fitness_episodes: int = 3
    """Episodes of the trained policy whose mean return is the loss's fitness."""
    eval_max_steps: int = EPISODE_LIMIT
    """Steps after which such an episode is cut where the environment has no time limit."""
    snapshot_every: int = 10
    """Generations between the snapshots under objectives/."""
    loop_timeout: float = 3600.0
    """Seconds after which an inner loop is given up and its worker replaced."""
    max_restarts: int = 5
    """Replacements of one worker before the run ends."""
    wandb: Literal["disabled"] = "disabled"
    """An evolution is not logged at Weights & Biases; metrics.jsonl and curves.png show it."""
    evolution: OmitArgPrefixes[EvolutionConfig] = field(default_factory=EvolutionConfig)
    agent: OmitArgPrefixes[EpgConfig] = field(default_factory=EpgConfig)

    def __post_init__(self) -> None:
        allowed = "nothing beside --env" if self.env else "training environments, or --env for one"
        require(bool(self.env) != bool(self.envs), "envs", self.envs, allowed)
        require_at_least(
            self, 1, "seeds", "workers", "updates", "fitness_episodes", "snapshot_every"
        )
        require_at_least(self, 0, "max_restarts")
        count(seeds=self.seeds, workers=self.workers)
        seed_range("seed", self.seed, self.seeds)
        require_at_least(self, 1, "eval_max_steps")
        require_positive(self, "loop_timeout", "env_start_timeout")
        fold(self, "env", "envs")
        require(
            self.worker_cpus is None or self.worker_cpus > 0,
            "worker_cpus",
            self.worker_cpus,
            "none or a number > 0",
        )
        least = 2 * len(self.environments)  # fitness is ranked within an environment
        require(
            self.evolution.noise_vectors >= least,
            "noise_vectors",
            self.evolution.noise_vectors,
            f"at least {least}, two for each environment",
        )

    @property
    def environments(self) -> tuple[str, ...]:
        """The environments that the agents train in."""
        return self.envs or (self.env,)

    @property
    def loop_steps(self) -> int:
        """Environment steps of an inner loop."""
        return self.updates * self.agent.update_every

    def env_of(self, vector: int) -> str:
        """The environment of a noise vector; both signs have the same."""
        index = vector // 2 if self.evolution.antithetic else vector
        return self.environments[index % len(self.environments)]


def epg_defaults(preset: PresetName) -> dict[str, Any]:
    """The fields that a preset gives a value; the others' defaults are the paper's."""
    if preset == "paper":
        paper = EpgTrainConfig
        evolution = EvolutionConfig()
        return {
            "updates": paper.updates,
            "snapshot_every": paper.snapshot_every,
            "evolution": evolution,
        }
    quick = preset == "quickstart"
    return {
        "updates": 16 if quick else 64,
        "snapshot_every": 5 if quick else 10,
        "evolution": EvolutionConfig(
            generations=20 if quick else 200, noise_vectors=16 if quick else 32, sigma=0.05
        ),
    }
