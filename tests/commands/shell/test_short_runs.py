"""Which runs would end before they learn anything."""

import json
from pathlib import Path

from metagenrl.commands.shell.short_runs import too_short
from metagenrl.learner.hyperparams import AgentConfig
from metagenrl.runs.config.baselines import Algorithm
from metagenrl.runs.config.lone_agents import BaselineConfig, MetaTestConfig

AGENT = AgentConfig(learning_starts=5_000)
RUN = Path("run")


def baseline(algo: Algorithm, steps: int) -> BaselineConfig:
    return BaselineConfig(env="Pendulum-v1", algo=algo, run_dir=RUN, steps=steps, agent=AGENT)


def test_a_buffer_fills_first() -> None:
    assert too_short(baseline("td3", 5_000)) is None
    said = "steps: 4999 are too few, learning begins at step 5000: the policies stay as they begin"
    assert too_short(baseline("td3", 4_999)) == said


def test_rules_without_a_buffer_learn_from_the_start() -> None:
    assert too_short(baseline("ppo", 2_000)) is None
    assert too_short(baseline("reinforce", 2_000)) is None
    assert too_short(baseline("rl2", 2_000)) is None


def test_so_does_what_a_meta_learner_left(tmp_path: Path) -> None:
    padding = {"observations": 3, "actions": 1}
    facts = {"rule": "rl2", "phase": "train", "environments": ["E"], "padding": padding}
    (tmp_path / "objective.json").write_text(json.dumps(facts))
    for objective, short in ((str(tmp_path), False), ("random", True), ("pretrained:pure", True)):
        config = MetaTestConfig(
            env="Pendulum-v1", objective=objective, run_dir=RUN, steps=2_000, agent=AGENT
        )
        assert (too_short(config) is not None) == short
