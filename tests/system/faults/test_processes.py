"""Processes killed in moments that are worse than others."""

from __future__ import annotations

import shlex
import signal

import psutil
import pytest
from fixtures.processes import actors, kill

from metagenrl.objective_server.store.in_folder import FileStore
from metagenrl.runs.metrics_file import read_metrics

AGENTS = ["--agents", "3"]


def versions(run) -> list[int]:
    return [row.version for row in read_metrics(run.folder).objective]


def test_a_driver_killed_before_its_first_checkpoint_begins_again(run) -> None:
    run.start(*AGENTS, "--steps", "300", "--checkpoint-every", "10000")
    run.wait_until(lambda: len(versions(run)) > 20)
    run.process.kill()
    printed, _ = run.process.communicate()
    command = next(line for line in printed.splitlines() if "go on with: " in line)
    words = shlex.split(command.partition("go on with: ")[2])
    assert words == ["metagenrl", "train", "--resume", str(run.folder)]
    run.resume().finish()  # the same words
    assert versions(run) == list(range(1, versions(run)[-1] + 1))
    assert FileStore(run.folder).load()["version"] == versions(run)[-1]


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_a_killed_agent_is_missing_and_comes_back(run, signum: int) -> None:
    run.start(*AGENTS, "--engine", "ray", "--steps", "100000")
    run.wait_until(run.checkpoints)
    actors(run.process.pid, "CohortActor")[0].send_signal(signum)
    run.wait_for("complete")
    back = run.round()
    run.wait_until(lambda: run.contributors(back) == {0, 1, 2})
    assert run.messages("degraded") == ["degraded: 2/3 agents"]
    assert run.messages("complete") == ["all 3 agents take part again"]
    (event,) = [row for row in read_metrics(run.folder).events if row.what == "restarted"]
    assert event.message.startswith("restarted (1/5) at step ")
    step = int(event.message.split("at step ")[1].split(":")[0])
    rows = [row for row in read_metrics(run.folder).agents if row.agent == event.agent]
    before = max(row.steps for row in rows if row.incarnation == 0)
    assert step >= max(100, before - 100), "it lost more than from one checkpoint to the next"
    contributors = [row.contributors for row in read_metrics(run.folder).objective]
    assert 2 in contributors, "the others waited for it"
    seen = versions(run)
    assert seen == list(range(1, len(seen) + 1))


@pytest.mark.slow
def test_a_server_killed_again_while_it_comes_back(run) -> None:
    run.start(*AGENTS, "--engine", "ray", "--steps", "100000")
    run.wait_until(run.checkpoints)
    killed: set[psutil.Process] = set()

    def kill_another() -> bool:
        another = set(actors(run.process.pid, "ServerActor")) - killed
        kill(another)
        killed.update(another)
        return len(killed) >= 4

    run.wait_until(kill_another)
    before = versions(run)[-1]
    run.wait_until(lambda: versions(run)[-1] > before + 10)
    seen = versions(run)
    assert seen == list(range(1, len(seen) + 1))
    applied = [key for row in read_metrics(run.folder).objective for key in row.applied]
    assert len(applied) > len(versions(run))
    assert len(set(applied)) == len(applied), "a gradient was applied twice"
    assert "objective restored at version" in (run.folder / "run.log").read_text()
