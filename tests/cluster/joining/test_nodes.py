"""Nodes are asked before agents start: one that is lost meanwhile is passed over."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
import ray
from ray.cluster_utils import Cluster

from metagenrl.base.checks import UsageError
from metagenrl.cluster.joining import nodes
from metagenrl.cluster.joining.nodes import ask_nodes

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head without CPUs and two nodes, joined by this process."""
    monkeypatch.setenv("RAY_health_check_failure_threshold", "3")
    monkeypatch.setenv("RAY_health_check_period_ms", "1000")
    monkeypatch.setenv("RAY_health_check_timeout_ms", "1000")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_one_that_is_lost_says_nothing_and_one_without_the_program_is_refused(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [report.memory is not None for report in ask_nodes(["Pendulum-v1"])] == [True, True]

    def not_installed(address: str, environments: tuple[str, ...]) -> None:
        raise ModuleNotFoundError("No module named 'metagenrl'")

    with monkeypatch.context() as there:
        there.setattr(nodes, "look_around", ray.remote(num_cpus=0)(not_installed))
        with pytest.raises(UsageError, match=r"could not be asked .*No module named 'metagenrl'"):
            ask_nodes(["Pendulum-v1"])
    as_it_was = ray.nodes()
    monkeypatch.setattr(nodes, "ANSWER_SECONDS", 3600.0)  # longer than a test may take
    lost = next(iter(cluster.worker_nodes)).all_processes["raylet"][0].process.pid
    os.kill(lost, signal.SIGSTOP)  # Ray calls it alive until it has missed three health checks
    reports = ask_nodes(["Pendulum-v1"])
    os.kill(lost, signal.SIGKILL)
    assert sorted(report.memory is not None for report in reports) == [False, True]
    monkeypatch.setattr(ray, "nodes", lambda: as_it_was)  # it was lost after Ray was asked
    assert sorted(report.memory is not None for report in ask_nodes([])) == [False, True]
