"""Processes killed in moments that are worse than others."""

from __future__ import annotations

import os
import signal

import psutil
import pytest
from metagenrl.cluster.metrics import read_metrics
from metagenrl.objective_server.file_store import FileStore

AGENTS = ["--agents", "3"]


def versions(run) -> list[int]:
    return [row.version for row in read_metrics(run.folder).objective]


def test_a_driver_killed_before_its_first_checkpoint_begins_again(run) -> None:
    run.start(*AGENTS, "--steps", "300", "--checkpoint-every", "10000")
    run.wait_until(lambda: len(versions(run)) > 20)
    run.process.kill()
    run.process.wait()
    run.resume().finish()
    assert versions(run) == list(range(1, versions(run)[-1] + 1))
    assert FileStore(run.folder).load()["version"] == versions(run)[-1]


@pytest.mark.slow
def test_a_killed_agent_is_missing_and_comes_back(run, find_actors) -> None:
    run.start(*AGENTS, "--engine", "ray", "--steps", "100000")
    run.wait_until(run.checkpoints)
    os.kill(find_actors(run.process.pid, "AgentActor")[0], signal.SIGKILL)
    run.wait_for("complete")
    run.wait_until(lambda: read_metrics(run.folder).objective[-1].contributors == 3)
    assert run.messages("degraded") == ["degraded: 2/3 agents"]
    assert run.messages("complete") == ["all 3 agents take part again"]
    (restarted,) = run.messages("restarted")
    assert restarted.startswith("restarted (1/5) at step ")
    contributors = [row.contributors for row in read_metrics(run.folder).objective]
    assert 2 in contributors, "the others waited for it"
    assert versions(run) == list(range(1, len(versions(run)) + 1))


@pytest.mark.slow
def test_a_server_killed_again_while_it_comes_back(run, find_actors) -> None:
    run.start(*AGENTS, "--engine", "ray", "--steps", "100000")
    run.wait_until(run.checkpoints)
    killed: set[int] = set()

    def kill_another() -> bool:
        for pid in set(find_actors(run.process.pid, "ServerActor")) - killed:
            psutil.Process(pid).kill()
            killed.add(pid)
        return len(killed) >= 4

    run.wait_until(kill_another)
    before = versions(run)[-1]
    run.wait_until(lambda: versions(run)[-1] > before + 10)
    assert versions(run) == list(range(1, len(versions(run)) + 1))
    assert "objective restored at version" in (run.folder / "run.log").read_text()
