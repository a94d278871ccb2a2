"""At which step learning begins, for each kind of run."""

from pathlib import Path

from metagenrl.learner.hyperparams import AgentConfig
from metagenrl.runs.config.learning_begins import learning_begins, too_short
from metagenrl.runs.config.lone_agents import BaselineConfig

AGENT = AgentConfig(learning_starts=500)


def baseline(algo: str, steps: int) -> BaselineConfig:
    return BaselineConfig(
        env="Pendulum-v1", algo=algo, run_dir=Path("run"), steps=steps, agent=AGENT
    )


def test_a_buffer_fills_first() -> None:
    assert learning_begins(baseline("td3", 1_000)) == 500
    assert too_short(baseline("td3", 500)) is None
    assert str(too_short(baseline("td3", 499))).startswith("steps: 499 are too few")


def test_rules_without_a_buffer_learn_from_the_start() -> None:
    assert learning_begins(baseline("ppo", 1_000)) == 0
    assert learning_begins(baseline("rl2", 1_000)) == 0
    assert too_short(baseline("reinforce", 1_000)) is None
