"""Whether a run would end before its agents learn anything."""

from __future__ import annotations

from typing import Any

from metagenrl.runs.config.baselines import BASELINES
from metagenrl.runs.config.lone_agents import RANDOM_OBJECTIVE, BaselineConfig, MetaTestConfig
from metagenrl.runs.config.train import TrainConfig


def too_short(config: Any) -> str | None:
    """One line that says at which step learning begins, None where the run gets there."""
    if not isinstance(config, TrainConfig | MetaTestConfig | BaselineConfig):
        return None
    starts = config.agent.learning_starts
    if config.steps >= starts or not _fills_a_buffer(config):
        return None
    of_population = isinstance(config, TrainConfig)
    what = (
        "the objective stays as it begins" if of_population else "the policies stay as they begin"
    )
    return f"steps: {config.steps} are too few, learning begins at step {starts}: {what}"


def _fills_a_buffer(config: TrainConfig | MetaTestConfig | BaselineConfig) -> bool:
    if isinstance(config, BaselineConfig):
        return BASELINES[config.algo].fills_a_buffer
    if isinstance(config, MetaTestConfig) and config.objective != RANDOM_OBJECTIVE:
        from metagenrl.baselines.meta_learned import baseline_of_test  # gymnasium

        return baseline_of_test(config) is None
    return True
