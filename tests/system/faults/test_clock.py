"""The clock steps forwards and backwards by an hour while a run goes on."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from metagenrl.runs.metrics_file import read_metrics

ROOT = Path(__file__).resolve().parents[3]
WALL_CLOCK = {
    "metagenrl/base/files/folder_lock.py",  # since when a folder is in use: for people
    "metagenrl/runs/machine/identity.py",  # when a run was begun
    "objective_server/snapshots/snapshot.py",  # when a snapshot was taken
    "cluster/population/steering.py",  # status: read by other machines, which share no other clock
    "metagenrl/commands/control.py",  # how old that status is: only shown
    "metagenrl/commands/top.py",
    "cluster/view/from_folder.py",  # how long a folder has been silent: only shown
}
"""Modules that may ask what time it is; nothing may wait for it."""

STEPPING = """
import time
import gymnasium
from gymnasium.envs.classic_control.pendulum import PendulumEnv

truth, offset = time.time, 0.0
time.time = lambda: truth() + offset

class Stepping(PendulumEnv):
    calls = 0

    def step(self, action):
        global offset
        Stepping.calls += 1
        offset = (0.0, 3600.0, -3600.0, 0.0)[min(Stepping.calls // 150, 3)]
        return super().step(action)

gymnasium.register("Stepping-v0", entry_point=Stepping, max_episode_steps=200)
"""


@pytest.fixture
def stepping(faulty: Path) -> str:
    (faulty / "stepping.py").write_text(STEPPING)
    return "stepping:Stepping-v0"


def test_a_run_does_not_notice(run, stepping: str) -> None:
    run.start("--agents", "2", "--steps", "400", "--envs", stepping, "--round-timeout", "30")
    run.finish()
    metrics = read_metrics(run.folder)
    assert {row.what for row in metrics.events} <= {"checkpoint"}
    times = [row.time for row in metrics.objective]
    assert times == sorted(times)
    assert times[-1] - times[0] < 1800


def test_only_dates_come_from_the_wall_clock() -> None:
    """Deadlines, delays and rates are measured on the monotonic clock."""
    found = set()
    for name in ("metagenrl", "learner", "agents", "objective_server", "cluster"):
        for path in (ROOT / name).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute) and (
                    ast.unparse(node) in ("time.time", "datetime.now", "datetime.datetime.now")
                ):
                    found.add(path.relative_to(ROOT).as_posix())
    assert found <= WALL_CLOCK
