"""A node dies with the agents on it: they move, or the population goes on without them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fixtures.processes import actors
from ray.cluster_utils import Cluster

from metagenrl.runs.metrics_file import read_metrics

pytestmark = pytest.mark.slow

FLAGS = ["--engine", "ray", "--agents", "4", "--round-timeout", "60", "--log-every", "20"]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head without agents and two nodes of two CPUs; runs of this test join it."""
    # Minutes would pass before a silent node counts as dead.
    monkeypatch.setenv("RAY_health_check_failure_threshold", "3")
    monkeypatch.setenv("RAY_health_check_period_ms", "1000")
    monkeypatch.setenv("RAY_health_check_timeout_ms", "1000")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        cluster.add_node(num_cpus=2)
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    yield cluster
    cluster.shutdown()


def raylet(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)


def by_node(cluster: Cluster) -> list[int]:
    """How many agents each node has."""
    return sorted(len(actors(raylet(node), "CohortActor")) for node in cluster.worker_nodes)


def test_agents_are_spread_and_move(cluster, run) -> None:
    run.start(*FLAGS, "--agent-cpus", "0.5", "--steps", "3000")
    run.wait_until(lambda: by_node(cluster) == [2, 2])
    run.wait_until(run.checkpoints)
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    run.wait_for("complete")
    assert by_node(cluster) == [4]
    assert run.messages("degraded")[-1].startswith("degraded: ")
    restarted = {row.agent for row in read_metrics(run.folder).events if row.what == "restarted"}
    assert len(restarted) == 2
    versions = [row.version for row in read_metrics(run.folder).objective]
    assert versions == list(range(1, versions[-1] + 1))


def test_without_room_it_goes_on_degraded_until_there_is(cluster, run) -> None:
    run.start(*FLAGS, "--agent-cpus", "1", "--steps", "3000")
    run.wait_until(run.checkpoints)
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    run.wait_until(lambda: "degraded: 2/4 agents" in run.messages("degraded"))
    done, degraded = len(run.messages("checkpoint")), run.round()
    run.wait_until(lambda: len(run.messages("checkpoint")) > done + 1)
    assert len(run.contributors(degraded)) == 2
    cluster.add_node(num_cpus=2)
    run.wait_for("complete")
    back = run.round()
    run.wait_until(lambda: run.contributors(back) == {0, 1, 2, 3})
    assert by_node(cluster) == [2, 2]
