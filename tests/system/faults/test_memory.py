"""Agents killed for memory, by the kernel and by Ray's monitor: said so, and not for ever again."""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from fixtures.processes import actors, family, kill

from metagenrl.runs.metrics_file import read_metrics

pytestmark = pytest.mark.slow

GROUPS = Path("/sys/fs/cgroup/memory")
FLAGS = ["--engine", "ray", "--agents", "2", "--steps", "3000", "--max-restarts", "1"]
LIMIT = 700 << 20
HUNGRY = """
import gymnasium
import numpy as np
from gymnasium.envs.classic_control.pendulum import PendulumEnv

class Hungry(PendulumEnv):
    eaten, calls = [], 0

    def step(self, action):
        Hungry.calls += 1
        if Hungry.calls > 150 and len(Hungry.eaten) < 24:
            Hungry.eaten.append(np.ones(32 << 20))  # 256 MiB
        return super().step(action)

gymnasium.register("Hungry-v0", entry_point=Hungry, max_episode_steps=200)
"""


@pytest.fixture
def hungry(faulty: Path) -> str:
    """An environment that takes 6 GiB after 150 steps."""
    (faulty / "hungry.py").write_text(HUNGRY)
    return "hungry:Hungry-v0"


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group with little memory."""
    folder = GROUPS / f"metagenrl-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(str(LIMIT))
    except OSError:
        pytest.skip("no control groups of version 1 can be made here")
    yield folder
    pids = map(int, (folder / "cgroup.procs").read_text().split())
    caught = [process for pid in pids for process in family(pid)[-1:]]
    kill(caught)
    psutil.wait_procs(caught, timeout=10)
    folder.rmdir()


def reasons(run) -> list[str]:
    """Why agents were lost."""
    events = read_metrics(run.folder).events
    return [row.message for row in events if row.what in ("restarted", "failed")]


def test_the_kernel_kills_one_and_then_gives_it_up(run, hungry, group) -> None:
    run.start(*FLAGS, "--envs", hungry, "Pendulum-v1")
    caught: set[psutil.Process] = set()

    def confine() -> bool:
        for actor in set(actors(run.process.pid, "CohortActor")) - caught:
            caught.add(actor)
            with contextlib.suppress(ProcessLookupError):
                (group / "cgroup.procs").write_text(str(actor.pid))
        return len(run.messages("failed")) > 0

    run.wait_until(confine)
    restarted, failed = reasons(run)
    assert restarted.startswith("restarted (1/1) at step ")
    assert failed.startswith("failed after 1 restarts: killed for memory (the kernel; ")
    assert "killed for memory (the kernel; this machine has " in restarted
    assert "--replay-capacity" in restarted


def test_rays_monitor_kills_one_and_then_gives_it_up(run, hungry, monkeypatch) -> None:
    memory = psutil.virtual_memory()
    threshold = 1 - (memory.available - (3 << 30)) / memory.total
    monkeypatch.setenv("RAY_ADDRESS", "local")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "50")
    monkeypatch.setenv("RAY_memory_usage_threshold", f"{threshold:.3f}")
    run.start(*FLAGS, "--envs", hungry, "Pendulum-v1")
    run.process.wait(400)
    assert any(
        re.search(r"killed for memory \([0-9.]+GB of [0-9.]+GB in use; Ray's", reason)
        for reason in reasons(run)
    )
