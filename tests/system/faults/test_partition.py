"""A node that can no longer be reached, and then comes back: not dead, only cut off."""

from __future__ import annotations

import subprocess
import sys

import pytest
from fixtures.processes import actors

from metagenrl.runs.metrics_file import read_metrics

from .conftest import TINY

pytestmark = pytest.mark.slow


def test_agents_come_back_elsewhere_and_the_old_ones_change_nothing(run, two_hosts) -> None:
    hosts = two_hosts(2)
    words = [*TINY.split(), "--engine", "ray", "--agents", "4", "--agent-cpus", "0.5"]
    words += ["--steps", "100000", "--round-timeout", "20", "--run-dir", str(run.folder)]
    run.process = subprocess.Popen(
        hosts.on(0, sys.executable, "-m", "metagenrl.commands.main", "train", *words),
        env=hosts.environment | {"RAY_TMPDIR": str(hosts.folder / "t0")},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    there = hosts.processes[1].pid
    run.wait_until(lambda: len(actors(there, "CohortActor")) == 2)
    run.wait_until(run.checkpoints)
    old = actors(there, "CohortActor")
    hosts.cable("down")
    run.wait_until(lambda: len(run.messages("restarted")) >= 2)
    run.wait_for("complete")
    hosts.cable("up")
    back = run.round()
    run.wait_until(lambda: run.round() > back + 50)
    run.wait_until(lambda: not any(actor.is_running() for actor in old))
    run.wait_until(lambda: run.contributors(back) == {0, 1, 2, 3})
    metrics = read_metrics(run.folder)
    versions = [row.version for row in metrics.objective]
    assert versions == list(range(1, versions[-1] + 1))
    applied = [key for row in metrics.objective for key in row.applied]
    assert len(applied) == len(set(applied)), "a gradient was applied twice"
    lost = {row.agent for row in metrics.events if row.what == "restarted"}
    after = [row.applied for row in metrics.objective if row.round > back]
    incarnations = {(int(a), int(i)) for keys in after for a, i, *_ in (k.split(".") for k in keys)}
    assert {i for a, i in incarnations if a in lost} == {1}, "an old agent was heard"
