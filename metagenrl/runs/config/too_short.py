"""Whether a run would end before its agents learn anything."""

from __future__ import annotations

from typing import Any

from metagenrl.runs.config.baselines import BASELINES
from metagenrl.runs.config.lone_agents import BaselineConfig, MetaTestConfig
from metagenrl.runs.config.train import TrainConfig


def too_short(config: Any) -> str | None:
    """One line that says at which step learning begins, None where the run gets there."""
    if isinstance(config, TrainConfig):
        minibatches = config.meta.inner_steps + 1
        what = "the objective stays as it begins"
    elif isinstance(config, MetaTestConfig | BaselineConfig) and _from_a_buffer(config):
        minibatches, what = 1, "the policies stay as they begin"
    else:
        return None
    agent = config.agent
    starts = max(agent.learning_starts, minibatches * agent.batch_size)
    if config.steps >= starts:
        return None
    return f"steps: {config.steps} are too few, learning begins at step {starts}: {what}"


def _from_a_buffer(config: MetaTestConfig | BaselineConfig) -> bool:
    """Whether agents learn from a buffer that has to fill first."""
    if isinstance(config, MetaTestConfig):
        return True
    traits = BASELINES[config.algo]
    return not traits.on_policy and not traits.meta_learner
