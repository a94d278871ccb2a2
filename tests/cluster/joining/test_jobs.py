"""A run as a job of a cluster: `ray job submit` with the user's modules, and `ray job stop`."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from fixtures.ray_heads import RAY, RayHead

MY_ENV = """
import gymnasium
from gymnasium.envs.classic_control.pendulum import PendulumEnv
gymnasium.register("E-v0", entry_point=PendulumEnv, max_episode_steps=200)
"""
TINY = (
    "train --preset quickstart --hidden-units 16 --batch-size 8 --learning-starts 40 "
    "--random-steps 60 --lifetime 0 --agents 2 --steps 100000 --wandb disabled --engine ray"
)


@pytest.mark.slow
def test_a_job_with_py_modules_ends_with_a_checkpoint_when_it_is_stopped(
    new_ray_head: Callable[[], RayHead],
) -> None:
    head = new_ray_head()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    head.start(
        "--num-cpus=2", "--include-dashboard=true", "--dashboard-host=127.0.0.1",
        f"--dashboard-port={port}", RAY_JOB_STOP_WAIT_TIME_S="120",
    )  # fmt: skip
    module = head.folder / "mods" / "late_env"
    module.mkdir(parents=True)
    (module / "__init__.py").write_text(MY_ENV)
    folder = head.folder / "run"

    def job(*words: str) -> str:
        own = {"RAY_AUTH_MODE": "token", "RAY_ADDRESS": f"http://127.0.0.1:{port}"}
        done = subprocess.run(
            [*RAY, "job", *words], env=head.environment | own, capture_output=True, text=True,
            timeout=200,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    line = [*TINY.split(), "--envs", "late_env:E-v0", "--run-dir", str(folder)]
    modules = json.dumps({"py_modules": [str(module)]})
    submit = ("submit", "--no-wait", "--submission-id", "j", "--runtime-env-json", modules)
    job(*submit, "--", sys.executable, "-m", "metagenrl", *line)
    rows, deadline = folder / "metrics.jsonl", time.monotonic() + 200
    while not (rows.is_file() and b'"objective"' in rows.read_bytes()):
        assert time.monotonic() < deadline, job("logs", "j")
        time.sleep(0.5)
    job("stop", "j")
    said = job("logs", "j")
    assert "stopping: checkpoint at round " in said
    assert f"ended by SIGTERM; go on with: metagenrl train --resume {folder}" in said
    assert "Traceback" not in said
    assert list((folder / "checkpoints").glob("round-*"))
    assert not (folder / "run.lock").exists()
