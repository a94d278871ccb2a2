"""Starting points: the paper's tables, and sizes that two cores can meta-train.

A preset is a complete set of defaults for any command; flags and YAML files override it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from metagenrl.learner.hyperparams import AgentConfig, MetaConfig, ObjectiveConfig
from metagenrl.runs.config.held_out import HeldOutOptions
from metagenrl.runs.config.train import TrainConfig

PresetName = Literal["quickstart", "small", "paper"]

DEFAULT_PRESET: PresetName = "small"
"""What a command starts from where neither --preset nor --config nor a run says otherwise."""


@dataclass(frozen=True)
class Preset:
    """One starting point for meta-training and for the agents trained afterwards."""

    train: TrainConfig
    """Meta-training; its `agent` and `objective` also serve meta-tests and baselines."""
    test_steps: int
    """Environment steps of an agent in a meta-test or baseline."""


# What the paper leaves out and small populations need (docs/algorithm.md, section 12): the
# agents' meta-gradients differ in norm by orders of magnitude, hence `normalize`; without lifetimes
# and a decaying step size alpha steers the policies that are there and trains no new ones; without
# the action penalty policies saturate within a hundred updates, and with them every gradient; the
# temporal difference and mirrored actions keep alpha from rules that only suit who is there.
_SMALL_OBJECTIVE = ObjectiveConfig(normalization="td", reflect_actions=True)
_SMALL_AGENT = AgentConfig(
    hidden_units=64,
    batch_size=32,
    random_steps=1_000,
    learning_starts=200,
    replay_capacity=100_000,
    action_penalty=0.05,
)
_SMALL_META = MetaConfig(
    gradient_scaling="normalize",
    learning_rate=3e-4,
    learning_rate_decay="cosine",
    anneal_steps=1_500,
    lifetime=5_000,
)
# Minibatches of a quarter, with the inner step's sum scaled to match: cheaper steps, more agents.
_QUICK_AGENT = replace(_SMALL_AGENT, batch_size=8)
_QUICK_META = replace(_SMALL_META, inner_step_size=4e-3)
_SMALL_ENVS = ("Pendulum-v1", "InvertedDoublePendulum-v5")

PRESETS: dict[PresetName, Preset] = {
    "quickstart": Preset(
        TrainConfig(
            envs=_SMALL_ENVS,
            agents=8,
            steps=10_000,
            run_dir=Path("runs/quickstart"),
            checkpoint_every=2_500,
            snapshot_every=250,
            log_every=200,
            objective=_SMALL_OBJECTIVE,
            agent=_QUICK_AGENT,
            meta=_QUICK_META,
            held_out=HeldOutOptions(eval_every=1_250, eval_steps=3_000),
        ),
        test_steps=6_000,
    ),
    "small": Preset(
        TrainConfig(
            envs=_SMALL_ENVS,
            agents=8,
            steps=60_000,
            run_dir=Path("runs/small"),
            checkpoint_every=5_000,
            snapshot_every=500,
            log_every=500,
            objective=_SMALL_OBJECTIVE,
            agent=_SMALL_AGENT,
            meta=_SMALL_META,
            held_out=HeldOutOptions(eval_every=5_000, eval_steps=6_000),
        ),
        test_steps=10_000,
    ),
    "paper": Preset(TrainConfig(), test_steps=1_000_000),
}
