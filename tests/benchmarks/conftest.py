"""Tiny sizes, and the repository's root on the path: benchmarks/ is not installed."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from metagenrl.learner.hyperparams import AgentConfig, MetaConfig, ObjectiveConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.problem import Problem


@pytest.fixture
def tiny() -> Problem:
    """Minibatches of 4 x 5 steps of Pendulum-v1, one action dimension."""
    agent = AgentConfig(
        hidden_units=7, segment_length=5, batch_size=4, learning_starts=12, random_steps=12,
        replay_capacity=60,
    )  # fmt: skip
    objective = ObjectiveConfig(lstm_units=3, hidden_units=4, input_features=2)
    return Problem("tiny", "Pendulum-v1", 3, 1, agent, objective, MetaConfig(anneal_steps=0))


@pytest.fixture
def wide(tiny: Problem) -> Problem:
    """The same with three action dimensions."""
    return dataclasses.replace(tiny, action_size=3)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """As the benchmark runs, and as before afterwards: it sets the number itself."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
