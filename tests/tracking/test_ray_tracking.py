"""On a real Ray: held-out tests as tasks, and the Prometheus endpoint scraped."""

import json
import os
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from prometheus_client.parser import text_string_to_metric_families

from metagenrl.learner.hyperparams import AgentConfig, ObjectiveConfig
from metagenrl.learner.objective.net import initial_alpha
from metagenrl.meta_test.pool import Ended, TraineePool
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.runs.agent_job import ObjectiveChoice, TraineeJob
from metagenrl.runs.rows import AgentRow, MetricsRow, ObjectiveRow
from metagenrl.runs.run_records import HeldOutRow, ScoreRow, SystemRow
from metagenrl.tracking.grafana import dashboard
from metagenrl.tracking.keys import KEYS

pytestmark = pytest.mark.slow

ARCHITECTURE = ObjectiveConfig(lstm_units=4, hidden_units=4, input_features=2)
AGENT = AgentConfig(
    hidden_units=8, batch_size=4, segment_length=4, random_steps=20, learning_starts=10,
    replay_capacity=200,
)  # fmt: skip
AGENT_ROW = AgentRow(
    time=1.0, round=10, version=10, agent=3, env="a/E", incarnation=0, steps=20, life=1,
    life_steps=20, state="learning", episodes=1, return_mean=-3.5, return_last=-3.5,
    episode_length=9.0, q=0.5, td_loss=0.1, objective_loss=2.0, policy_gradient_norm=0.7,
    gradient_norm=80.0, value_after=0.6, lag=3, restarts=2,
    values={"saturated": 0.25, "action_size": 0.5},
)  # fmt: skip
ROWS: list[MetricsRow] = [
    AGENT_ROW,
    replace(AGENT_ROW, agent=4, return_mean=4.5),
    ObjectiveRow(
        1.0, 10, 10, 2, 0.5, 0.1, 18.0, 0.25, {"a/E": 0.75}, 9, 2, 1, 1, 40, 100.0,
    ),
    SystemRow(7200.0, 10, 10, 40, 100.0, 3_000, 1_000, 5, 0.5, 3, 4),
    HeldOutRow(1.0, 12, 10, 40, "F", 10_000, 500, 8.0, (8.0,)),
    ScoreRow(1.0, 12, 10, 40, 8.0, {"F": 8.0}, 10, 8.0, "mean return"),
]  # fmt: skip


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    import ray

    os.environ.setdefault("RAY_worker_niceness", "0")
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture
def job(tmp_path: Path) -> Callable[[str], TraineeJob]:
    alpha = initial_alpha(ARCHITECTURE, torch.Generator().manual_seed(1)).numpy()
    file = tmp_path / "objective.safetensors"
    snapshot = ObjectiveSnapshot(np.asarray(alpha), 3, vars(ARCHITECTURE), ("E",), 4, "r")
    snapshot.save(file)

    def make(name: str, env: str = "Pendulum-v1") -> TraineeJob:
        (tmp_path / name).mkdir()
        return TraineeJob(
            env=env, seed=5, label="learned objective v3", steps=60, eval_every=30,
            eval_episodes=1, folder=str(tmp_path / name), agent=AGENT,
            objective=ObjectiveChoice("learned", str(file), ARCHITECTURE), niceness=5,
        )  # fmt: skip

    return make


def ended(runner: object) -> Ended:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        for end in runner.poll():  # type: ignore[attr-defined]
            return end
        time.sleep(0.2)
    raise AssertionError("no test ended in time")


def test_a_task_trains_the_same_agent_as_a_process_here(
    ray_here: None, job: Callable[[str], TraineeJob]
) -> None:
    from metagenrl.cluster.held_out.on_ray import RayTrials

    here, there = job("here"), job("there")
    pool, tasks = TraineePool(1), RayTrials(1)
    pool.submit(here)
    tasks.submit(there)
    assert (pool.outstanding, tasks.outstanding) == (1, 1)
    assert ended(pool) == Ended(here)
    assert ended(tasks) == Ended(there)
    assert there.rows.read_bytes() == here.rows.read_bytes()
    assert len(here.rows.read_bytes().splitlines()) >= 3
    assert (pool.outstanding, tasks.outstanding) == (0, 0)


def test_a_task_that_fails_says_why_and_one_given_up_leaves_nothing(
    ray_here: None, job: Callable[[str], TraineeJob]
) -> None:
    from metagenrl.cluster.held_out.on_ray import RayTrials

    tasks = RayTrials(1)
    wrong = job("wrong", env="NoSuchEnvironment-v0")
    tasks.submit(wrong)
    end = ended(tasks)
    assert end.job == wrong
    assert "NoSuchEnvironment" in end.failure
    assert "Traceback" in end.detail or "ray::carry_out" in end.detail
    # An evaluation of hours is as good as an environment that hangs.
    tasks.submit(replace(job("hangs"), eval_episodes=100_000, timeout=1.0))
    end = ended(tasks)
    assert end.failure.startswith("TimeoutError: hangs in ")
    assert end.failure.endswith("no step for 1 s")
    tasks.submit(job("left"))
    tasks.poll()
    tasks.close()
    assert tasks.outstanding == 0


def scraped(wanted: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Our metrics at Ray's endpoint, by name and labels, once `wanted` is among them."""
    from metagenrl.tracking.prometheus import endpoints

    (endpoint,) = endpoints()
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with urllib.request.urlopen(endpoint, timeout=30) as answer:
            text = answer.read().decode()
        found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name.startswith("ray_metagenrl_"):
                    own = {k: v for k, v in sample.labels.items() if k in ("run", "agent", "env")}
                    found.setdefault(sample.name, {})[tuple(sorted(own.items()))] = sample.value
        if wanted in found:
            return found
        time.sleep(1.0)
    raise AssertionError(f"{wanted} does not appear at {endpoint}")


def test_rays_endpoint_has_every_value_and_the_dashboard_asks_for_no_other(ray_here: None) -> None:
    from metagenrl.tracking.prometheus import PrometheusExport

    export = PrometheusExport("my run ü", 2)  # as a folder may be called
    export.take(ROWS)
    RUN = r"my run \xfc"
    found = scraped("ray_metagenrl_heldout_return")
    assert found["ray_metagenrl_agent_return"] == {
        (("agent", "03"), ("run", RUN)): -3.5,
        (("agent", "04"), ("run", RUN)): 4.5,
    }
    assert found["ray_metagenrl_meta_cosine"] == {
        (("env", "all"), ("run", RUN)): 0.25,
        (("env", "a-E"), ("run", RUN)): 0.75,
    }
    assert found["ray_metagenrl_population_return_iqm"] == {(("env", "a-E"), ("run", RUN)): 0.5}
    assert found["ray_metagenrl_system_rss"] == {(("run", RUN),): 3_000}
    assert {f"ray_{key.prometheus_name}" for key in KEYS if not key.wandb_only} == set(found)
    asked = set(re.findall(r"ray_metagenrl_\w+", json.dumps(dashboard())))
    assert asked <= set(found)
