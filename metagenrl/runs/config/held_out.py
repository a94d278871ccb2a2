"""Held-out evaluation while a population meta-trains: its part of the configuration."""

from __future__ import annotations

import math
from dataclasses import dataclass

from metagenrl.agents.environment.limits import EPISODE_LIMIT
from metagenrl.base.checks import require
from metagenrl.learner.hyperparams import AgentConfig
from metagenrl.runs.config.environments import EnvironmentText, check_texts


@dataclass(frozen=True)
class HeldOutOptions:
    """Meta-tests of alpha on spare capacity (Figures 4 and 10); off without environments."""

    eval_envs: tuple[EnvironmentText, ...] = ()
    """Environments in which versions of alpha train new agents during the run; none: no tests."""
    eval_every: int = 50_000
    """Versions of alpha between the tested ones; the first and the last are tested as well."""
    eval_seeds: int = 3
    """New agents for each tested version and environment."""
    eval_steps: int = 200_000
    """Environment steps of each of these agents."""
    eval_episodes: int = 10
    """Episodes, without exploration noise, whose mean return is an agent's result."""
    eval_max_steps: int = EPISODE_LIMIT
    """Steps after which an evaluation episode is cut where the environment has no time limit."""
    eval_workers: int | None = None
    """Tests at the same time, at low priority; None: the CPUs that the population leaves over."""
    eval_timeout: float = 600.0
    """Seconds without a step, the wait for a CPU apart, after which a test counts as hung; it is
    begun anew then, as if it had crashed. For its start --env-start-timeout holds."""
    eval_patience: int = 0
    """Tested versions without a new best one after which meta-training stops; 0: never."""

    def __post_init__(self) -> None:
        for name in ("eval_every", "eval_seeds", "eval_steps", "eval_episodes", "eval_max_steps"):
            value = getattr(self, name)
            require(value >= 1, name, value, "a whole number >= 1")
        object.__setattr__(self, "eval_envs", check_texts("eval_envs", self.eval_envs))
        workers = self.eval_workers
        require(workers is None or workers >= 1, "eval_workers", workers, "none, or a number >= 1")
        limit = self.eval_timeout
        require(0 < limit < math.inf, "eval_timeout", limit, "a finite number > 0")
        require(self.eval_patience >= 0, "eval_patience", self.eval_patience, "a number >= 0")
        require(
            bool(self.eval_envs) or self.eval_patience == 0,
            "eval_patience",
            self.eval_patience,
            "0 where eval_envs names no environment",
        )
        repeated = len(set(self.eval_envs)) < len(self.eval_envs)
        require(not repeated, "eval_envs", self.eval_envs, "each environment once")

    def check_agent(self, agent: AgentConfig) -> None:
        """Raise `ValueError` where the tests would be over before such an agent learns."""
        if self.eval_envs:
            require(
                self.eval_steps > agent.learning_starts,
                "eval_steps",
                self.eval_steps,
                f"more than learning_starts ({agent.learning_starts})",
            )
