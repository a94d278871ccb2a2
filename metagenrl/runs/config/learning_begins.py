"""At which step a run's agents begin to learn, and whether it would end before."""

from __future__ import annotations

from typing import Any

from metagenrl.runs.config.baselines import BASELINES
from metagenrl.runs.config.lone_agents import BaselineConfig, MetaTestConfig
from metagenrl.runs.config.train import TrainConfig


def learning_begins(config: TrainConfig | MetaTestConfig | BaselineConfig) -> int:
    """The step at which the agents' buffers hold enough; 0 for rules that need no buffer."""
    if isinstance(config, BaselineConfig):
        traits = BASELINES[config.algo]
        if traits.on_policy or traits.meta_learner:
            return 0
    return config.agent.learning_starts


def too_short(config: Any) -> str | None:
    """One line that says at which step learning begins, None where the run gets there."""
    if not isinstance(config, TrainConfig | MetaTestConfig | BaselineConfig):
        return None
    starts = learning_begins(config)
    if config.steps >= starts:
        return None
    of_population = isinstance(config, TrainConfig)
    what = (
        "the objective stays as it begins" if of_population else "the policies stay as they begin"
    )
    return f"steps: {config.steps} are too few, learning begins at step {starts}: {what}"
