"""A cluster whose autoscaler never grants what was asked: said after a stated time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fixtures.ray_heads import RayHead

TINY = (
    "train --preset quickstart --hidden-units 16 --batch-size 8 --learning-starts 40 "
    "--random-steps 60 --lifetime 0 --agents 2 --steps 150 --wandb disabled --engine ray "
    "--envs Pendulum-v1"
)


@pytest.fixture(scope="module")
def head(new_ray_head: Callable[[], RayHead]) -> RayHead:
    """A head of one CPU, with an autoscaler that may start no nodes."""
    head = new_ray_head()
    worker = {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 0}
    steps = ("initialization", "setup", "head_setup", "worker_setup")
    starts = ("head_start_ray", "worker_start_ray")
    config = {
        **{f"{name}_commands": [] for name in (*steps, *starts)},
        **{name: {} for name in ("file_mounts", "auth", "docker")},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 1,
        "cluster_name": "grants-nothing",
        "provider": {"type": "fake_multinode"},
        "max_workers": 0,
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 0},
            "worker": worker,
        },
    }
    file = head.folder / "autoscaler.json"
    file.write_text(json.dumps(config))
    return head.start("--num-cpus=1", f"--autoscaling-config={file}", RAY_FAKE_CLUSTER="1")


def test_it_says_what_was_asked_what_is_there_and_how_to_go_on(head, tmp_path: Path) -> None:
    wait = ["--cluster-cpus", "3", "--cluster-wait", "4", "--run-dir", "a"]
    done = subprocess.run(
        [sys.executable, "-m", "metagenrl.commands.main", *TINY.split(), *wait],
        env=head.environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 2, done.stderr
    assert "waiting up to 4 s for 3 CPUs, 1 are there" in done.stdout, done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: cluster_cpus: got 3 (1 CPUs on 1 nodes after 4 s), allowed: ")
    assert "--cluster-cpus 1 goes on with them" in line
    assert not (tmp_path / "a").exists()
