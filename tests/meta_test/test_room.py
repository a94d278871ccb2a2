"""Agents that train alone and do not fit this machine's memory are refused with what helps."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from metagenrl.base.checks import UsageError
from metagenrl.base.memory import Memory
from metagenrl.meta_test import room
from metagenrl.runs.config.lone_agents import BaselineConfig

GIB = 1 << 30


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setattr(room, "memory_here", lambda: Memory(24 * GIB, 20 * GIB))

    def of(algo: Any, **options: Any) -> str:
        config = BaselineConfig(algo=algo, env="Pendulum-v1", run_dir=tmp_path / "a", seeds=1_000)
        return room.require_memory(dataclasses.replace(config, **options))

    return of


def test_too_many_processes_are_refused_with_fewer(words: Any) -> None:
    with pytest.raises(UsageError, match=r"^workers: got 500 \(memory: 500 processes, ") as refusal:
        words("td3", workers=500)
    fitting = int(str(refusal.value).rpartition(" ")[2])
    assert words("td3", workers=fitting).startswith(f"memory: {fitting} processes, ")


def test_a_rollout_that_cannot_fit_is_refused_with_one_that_does(words: Any) -> None:
    def ppo(steps: int) -> str:
        on_policy = dataclasses.replace(
            BaselineConfig(algo="ppo", env="Pendulum-v1", run_dir=Path("a")).on_policy,
            rollout_steps=steps,
        )
        return words("ppo", workers=1, steps=10**10, on_policy=on_policy)

    with pytest.raises(UsageError, match=r"^rollout_steps: got 10000000000 \(memory: ") as refusal:
        ppo(10**10)
    fitting = int(str(refusal.value).rpartition(" ")[2])
    assert fitting > 10**8
    assert ppo(fitting).startswith("memory: 1 process, ")
