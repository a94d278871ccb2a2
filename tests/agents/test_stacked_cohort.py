"""Agents that are computed together against the same agents one after the other."""

from dataclasses import is_dataclass

import numpy as np
import pytest
from metagenrl.agents.cohort import Cohort
from metagenrl.agents.individual import MemberConfig
from metagenrl.agents.stacked_cohort import StackedCohort
from metagenrl.learner.hyperparams import AgentConfig, MetaConfig, ObjectiveConfig
from metagenrl.learner.objective_net import ObjectiveNet

OBJECTIVE = ObjectiveConfig(lstm_units=4, hidden_units=4, input_features=2)
AGENT = AgentConfig(
    hidden_units=8, batch_size=3, segment_length=4, random_steps=10, learning_starts=12,
    replay_capacity=64,
)  # fmt: skip
META = MetaConfig(
    lifetime=60, lifetime_random_steps=5, anneal_steps=40, older_policies=0.5, archive_size=2
)
ALL = (1, 4, 6)


def _config(index, agent=AGENT, meta=META, env="Pendulum-v1"):
    return MemberConfig("r", 3, index, env, 50 + 3 * index, agent, meta, OBJECTIVE)


def _alpha(seed=0):
    size = ObjectiveNet(OBJECTIVE).layout.size
    return np.random.default_rng(seed).normal(0, 0.3, size).astype(np.float32)


def _cohort(cls, states=None, agents=ALL, **fields):
    cohort = cls()
    for index in agents:
        cohort.add(_config(index, **fields), 0, None if states is None else states[index])
    return cohort


def _play(cohort, rounds, agents=ALL, first=0):
    return [cohort.round(agents, _alpha(i), i, i, {}) for i in range(first, first + rounds)]


def _close(got, want, rtol):
    """Nested states: numbers within rounding, the rest equal."""
    assert type(got) is type(want)
    if is_dataclass(want):
        _close(vars(got), vars(want), rtol)
    elif isinstance(want, dict):
        assert got.keys() == want.keys()
        for key in want:
            _close(got[key], want[key], rtol)
    elif isinstance(want, np.ndarray) and want.dtype.kind == "f":
        assert got.shape == want.shape
        scale = max(np.abs(want).max(initial=0.0), 1e-8)
        np.testing.assert_allclose(got, want, rtol=0, atol=rtol * scale)
    elif isinstance(want, np.ndarray):
        np.testing.assert_array_equal(got, want)
    elif isinstance(want, float):
        assert got == pytest.approx(want, rel=rtol, abs=1e-6, nan_ok=True)
    else:
        assert got == want


def test_sixty_rounds_with_new_lives_and_annealing_are_the_same_within_rounding():
    stacked, plain = _cohort(StackedCohort), _cohort(Cohort)
    for got, want in zip(_play(stacked, 60), _play(plain, 60), strict=True):
        for mine, other in zip(got.reports, want.reports, strict=True):
            _close(mine, other, 1e-3)
    for index in ALL:
        _close(stacked.state(index), plain.state(index), 1e-3)
