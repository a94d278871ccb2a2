"""Actors on a real Ray that go on ahead of the server, and those that had better not."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metagenrl.cluster.engines.interface import Completed, Engine
from metagenrl.cluster.engines.placement import Hosts
from metagenrl.cluster.parts import engine_of, prepare_store
from metagenrl.cluster.population.roster import Roster
from metagenrl.runs.config.presets import PRESETS
from metagenrl.runs.config.train import TrainConfig

pytestmark = pytest.mark.slow

ROUNDS = 24


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    import ray

    os.environ.setdefault("RAY_worker_niceness", "0")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def _config(run_dir: Path, per_actor: int) -> TrainConfig:
    preset = PRESETS["quickstart"].train
    agent = dataclasses.replace(
        preset.agent, hidden_units=16, batch_size=8, learning_starts=16, random_steps=20
    )
    return dataclasses.replace(
        preset, agents=2, agents_per_actor=per_actor, engine="ray", agent=agent,
        envs=("Pendulum-v1",), run_dir=run_dir,
    )  # fmt: skip


def _play(engine: Engine, config: TrainConfig) -> tuple[np.ndarray, dict[str, Any]]:
    """Alpha after some rounds and agent 1's state, which has been told to go on ahead."""
    for seat in Roster(config, "r").seats:
        engine.start_agent(seat.config, 0, None)
    up = 0
    while up < 2:
        up += len(engine.started(120))
    broadcast = engine.exchange([], [], close=False).broadcast
    for _ in range(ROUNDS):
        for agent in (0, 1):
            engine.begin_round(agent, broadcast, ahead=True)
        results = engine.poll(120, everyone=True)
        reports = [result.report for result in results if isinstance(result, Completed)]
        assert {report.agent for report in reports} == {0, 1}
        found = [getattr(r, "gradient", None) for r in (*results, *reports)]
        gradients = [g for g in found if hasattr(g, "run")]
        gradients.sort(key=lambda gradient: gradient.agent)
        broadcast = engine.exchange(gradients, [0, 1], close=True).broadcast
    assert broadcast.version > 10
    return broadcast.alpha, engine.agent_state(1)


@pytest.mark.parametrize(
    ("per_actor", "plan", "share", "ahead"),
    [
        (1, ((0,), (1,)), 1.0, True),
        (1, ((0,), (1,)), 0.5, False),
        (2, ((0, 1),), 1.0, True),
        (2, ((0, 1),), 0.5, False),
    ],
)
def test_an_actor_with_a_core_of_its_own_goes_on_ahead(
    ray_here, tmp_path, per_actor, plan, share, ahead
) -> None:
    config = _config(tmp_path / "run", per_actor)
    config.run_dir.mkdir()
    prepare_store(config, "r", None)
    engine = engine_of(config, "r", Hosts(plan, share))
    try:
        alpha, state = _play(engine, config)
    finally:
        engine.close()
    assert (state["prepared"] is not None) == ahead
    assert state["steps"] == ROUNDS * config.agent.policy_delay
    plain = dataclasses.replace(config, engine="inprocess", run_dir=tmp_path / "plain")
    plain.run_dir.mkdir()
    prepare_store(plain, "r", None)
    wanted, other = _play(engine_of(plain, "r", Hosts(plan, 0.0)), plain)
    np.testing.assert_array_equal(alpha, wanted)
    np.testing.assert_array_equal(
        state["actor_critic"]["phi"], other["actor_critic"]["phi"], "phi is not touched ahead"
    )
