"""The head's GCS dies and comes back with its state in Redis, as `cluster/config.yaml` has it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fixtures import forks
from fixtures.processes import actors
from ray.cluster_utils import Cluster

from metagenrl.runs.metrics_file import read_metrics

PASSWORD = "s3cret-of-the-gcs"


@pytest.fixture
def cluster(
    redis_server_with_password, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Cluster, object]]:
    """A head without agents, whose GCS keeps its state in a Redis, and a node of two CPUs."""
    redis = redis_server_with_password(PASSWORD)
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setenv("RAY_REDIS_ADDRESS", f"127.0.0.1:{redis.port}")
    head = {"num_cpus": 0, "redis_password": PASSWORD}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(num_cpus=2)
    monkeypatch.delenv("RAY_REDIS_ADDRESS")  # only the head knows of it
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    yield cluster
    cluster.shutdown()


def metagenrl(*words: str) -> str:
    """What a command prints, given in a process of its own."""
    done = forks.run([*forks.METAGENRL, *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_gcs_that_comes_back_knows_the_run(cluster, run) -> None:
    def versions() -> list[int]:
        return [row.version for row in read_metrics(run.folder).objective]

    head, (worker,) = cluster.head_node, cluster.worker_nodes
    raylet = int(worker.all_processes["raylet"][0].process.pid)
    run.start("--engine", "ray", "--agents", "2", "--agent-cpus", "1", "--steps", "100000")
    run.wait_until(run.checkpoints)
    head.kill_gcs_server()
    before = versions()[-1]
    run.wait_until(lambda: versions()[-1] > before + 20)  # trains on without it
    head.start_gcs_server()

    # What only a GCS that knows the cluster can do: find a named actor, start another.
    assert "2/2 agents at work" in metagenrl("status", str(run.folder))
    actors(raylet, "CohortActor")[0].kill()
    run.wait_for("complete")
    assert len(actors(raylet, "CohortActor")) == 2
    metagenrl("stop", str(run.folder))
    run.finish()
    assert versions() == list(range(1, versions()[-1] + 1))
