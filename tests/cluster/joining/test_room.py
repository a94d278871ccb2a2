"""Memory and disk of a population: said when it fits, refused with what helps when it cannot."""

from __future__ import annotations

import dataclasses
import shutil
from collections import namedtuple
from typing import Any

import pytest

from metagenrl.base.checks import UsageError
from metagenrl.base.memory import Memory
from metagenrl.cluster.engines.plan import Plan, cohort_plan
from metagenrl.cluster.joining.room import Crowd, Needs, needs_of, require_disk, require_memory
from metagenrl.runs.config.presets import PRESETS
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.machine.needs import GIB

MACHINE = Memory(24 * GIB, 20 * GIB)


def population(agents: int, per_actor: Any = 1, steps: int = 600_000, **agent: Any) -> TrainConfig:
    """Of the paper's sizes on Pendulum."""
    paper = PRESETS["paper"].train
    return dataclasses.replace(
        paper,
        envs=("Pendulum-v1",),
        agents=agents,
        steps=steps,
        agents_per_actor=per_actor,
        agent=dataclasses.replace(paper.agent, **agent),
    )


def words(config: TrainConfig, *nodes: Memory) -> str:
    """What is said of a population on these nodes, of two cores."""
    cohorts = cohort_plan(config.seating, "auto", 2) if config.agents_per_actor == 1 else None
    return require_memory(crowd(config), plan_of(config), nodes or [MACHINE], 0, cohorts)


def crowd(config: TrainConfig) -> Crowd:
    return Crowd(config.agent, config.steps, config.env_of, on_ray=True)


def plan_of(config: TrainConfig) -> Plan:
    return cohort_plan(config.seating, config.agents_per_actor, 2)


def needs(config: TrainConfig, tests: int = 0) -> Needs:
    return needs_of(crowd(config), plan_of(config), tests)


@pytest.mark.parametrize(
    ("agents", "per_actor", "measured"),
    [(20, 1, 8.4e9), (40, 1, 13.5e9), (20, "auto", 2.1e9), (40, "auto", 2.7e9)],
)
def test_the_estimate_is_near_what_was_measured(agents, per_actor, measured: float) -> None:
    config = population(agents, per_actor, replay_capacity=2_000)
    needed = needs(config).memory
    assert 0.8 < needed / measured < 1.25


def test_what_fits_is_said() -> None:
    assert words(population(20, replay_capacity=2_000)).startswith("20 actors, 7.")
    assert words(population(20, replay_capacity=2_000)).endswith(" of 24.0 GiB")
    tight = words(population(20, replay_capacity=2_000), Memory(24 * GIB, 2 * GIB))
    assert "(2.0 GiB free now: other programs have to end)" in tight
    much = population(2, replay_capacity=10**8, steps=10**8)
    assert " GiB of it replay of 24.0 GiB" in words(much)


def test_too_many_processes_are_refused_with_fewer_or_shared_ones() -> None:
    with pytest.raises(UsageError) as refusal:
        words(population(500, replay_capacity=2_000))
    assert str(refusal.value).startswith("agents: got 500 (memory: 500 actors, ")
    assert "; this machine: 24.0 GiB), allowed: at most 7" in str(refusal.value)
    assert str(refusal.value).endswith(", or --agents-per-actor auto")
    assert words(population(500, "auto", replay_capacity=2_000)).startswith("2 actors, ")
    fitting = int(str(refusal.value).partition("at most ")[2].partition(",")[0])
    assert words(population(fitting, replay_capacity=2_000))


def test_networks_that_fit_nowhere_are_named() -> None:
    with pytest.raises(
        UsageError, match=r"^hidden_units: got 64 \(with 99999 hidden_layers, memory"
    ):
        words(population(2, hidden_units=64, hidden_layers=99_999))


def test_nodes_are_added_up() -> None:
    config = population(100, replay_capacity=2_000)
    with pytest.raises(UsageError, match="agents: got 100"):
        words(config)
    assert words(config, MACHINE, MACHINE).endswith(" of 48.0 GiB")


def test_a_replay_that_cannot_fit_is_refused_with_one_that_does() -> None:
    huge = dataclasses.replace(
        population(2, replay_capacity=100_000), envs=("CarRacing-v3",), steps=1_000_000
    )
    with pytest.raises(UsageError) as refusal:
        words(huge)
    assert str(refusal.value).startswith("replay_capacity: got 100000 (memory: 2 actors, ")
    fitting = int(str(refusal.value).partition("at most ")[2].partition(",")[0])
    smaller = dataclasses.replace(huge.agent, replay_capacity=fitting)
    assert words(dataclasses.replace(huge, agent=smaller))
    assert words(dataclasses.replace(huge, steps=2_000)), "a buffer that never fills"


def test_held_out_tests_count() -> None:
    config = population(20, replay_capacity=2_000)
    alone, beside = (needs(config, tests).memory for tests in (0, 4))
    assert GIB < beside - alone < 2 * GIB


@pytest.mark.parametrize("capacity", [10**12, 10**18])
def test_an_absurd_capacity_is_refused_however_short_the_run(capacity: int) -> None:
    config = dataclasses.replace(population(2, replay_capacity=capacity), steps=2_000)
    with pytest.raises(UsageError, match=f"^replay_capacity: got {capacity} .an array of "):
        words(config)


def test_checkpoints_beside_the_disk(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    usage = namedtuple("usage", "total used free")
    checkpoint, folder = needs(population(20)).checkpoint, tmp_path / "new" / "run"

    def disk(total: int, free: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(total, total - free, free))

    disk(10**12, 10**12)
    assert require_disk(folder, 3, 10, checkpoint).endswith(" free on disk")
    disk(10**12, 10**6)
    room = r"(lower --keep-checkpoints or make room)"
    assert require_disk(folder, 3, 10, checkpoint).endswith(room)
    disk(10**6, 10**6)
    with pytest.raises(UsageError, match=r"^run_dir: got .*allowed: a disk of at least"):
        require_disk(folder, 3, 10, checkpoint)
    disk(3 * checkpoint, 0)
    with pytest.raises(UsageError, match=r"^keep_checkpoints: got 3 .*allowed: at most 2, or a"):
        require_disk(folder, 3, 10, checkpoint)
    assert require_disk(folder, 2, 10, checkpoint).endswith(room)
    assert require_disk(folder, 3, 3, checkpoint).endswith(room)  # all that the run writes
