"""Signals to commands that train: the round ends, a checkpoint is written, nothing is left over."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from fixtures import forks
from fixtures.processes import kill, named

LONG = ["--steps", "100000", "--wandb", "disabled"]


def send_as_timeout_does(process: Any, signum: int) -> None:
    """Once to the process and once to its group, so that it comes twice."""
    process.send_signal(signum)
    time.sleep(0.02)  # or the kernel makes one of them
    process.send_signal(signum)


def ended(family: list[psutil.Process]) -> bool:
    return psutil.wait_procs(family, timeout=30)[1] == []


def train_until_round(run: Any, engine: str, version: int = 20) -> list[psutil.Process]:
    """Start a run, wait until it learns; all its processes."""
    run.start(*LONG, "--engine", engine)
    run.wait_until(lambda: run.folder.joinpath("metrics.jsonl").is_file())
    run.wait_until(lambda: b'"objective"' in (run.folder / "metrics.jsonl").read_bytes())
    return psutil.Process(run.process.pid).children(recursive=True)


@pytest.mark.parametrize(
    ("engine", "signum", "code"),
    [
        ("inprocess", signal.SIGTERM, 143),
        ("inprocess", signal.SIGHUP, 129),
        ("inprocess", signal.SIGINT, 130),
        ("ray", signal.SIGTERM, 143),
    ],
)
def test_a_signal_ends_training_with_a_checkpoint(
    run: Any, engine: str, signum: int, code: int
) -> None:
    family = train_until_round(run, engine)
    send_as_timeout_does(run.process, signum)
    out = run.finish(code)
    (said,) = run.messages("stopped")
    assert said.startswith("stopping: checkpoint at round ")
    assert run.checkpoints()[-1].name == f"round-{int(said.split()[-1]):09d}"
    assert f"go on with: metagenrl train --resume {run.folder}" in out
    assert ("`metagenrl stop`" in out) is (engine == "ray"), "named where it reaches the run"
    assert "to end it: Ctrl-C" in out
    for noise in ("Traceback", "*** SIG", "Exception ignored"):
        assert noise not in out
    assert ended(family)
    assert not (run.folder / "run.lock").exists()


@pytest.mark.parametrize("engine", ["inprocess", "ray"])
def test_a_second_signal_ends_at_once(run: Any, engine: str) -> None:
    family = train_until_round(run, engine)
    run.process.send_signal(signal.SIGSTOP)  # so that both are there before it can act on one
    run.process.send_signal(signal.SIGINT)
    run.process.send_signal(signal.SIGTERM)
    run.process.send_signal(signal.SIGCONT)
    assert run.process.wait(60) in (130, 143)
    out = run.finish(run.process.returncode)
    assert "again: ended at once, go on with: metagenrl train --resume" in out
    assert "Traceback" not in out
    assert ended(family)


def test_a_signal_while_ray_is_shut_down_leaves_nothing_over(run: Any) -> None:
    family = train_until_round(run, "ray")
    run.process.terminate()
    run.wait_for_line("ended by SIGTERM")
    run.wait_until(lambda: not all(process.is_running() for process in family))
    run.process.terminate()
    run.finish(143)
    assert ended(family)


def test_a_terminal_that_closes_ends_a_run_on_ray_with_a_checkpoint(run: Any) -> None:
    family = train_until_round(run, "ray")
    os.killpg(run.process.pid, signal.SIGHUP)  # to all in the foreground
    out = run.finish(129)
    (said,) = run.messages("stopped")
    assert run.checkpoints()[-1].name == f"round-{int(said.split()[-1]):09d}"
    assert f"ended by SIGHUP; go on with: metagenrl train --resume {run.folder}" in out
    assert ended(family)


def test_a_run_whose_processes_are_all_told_to_end_does_so(run: Any) -> None:
    family = train_until_round(run, "ray")
    for process in [psutil.Process(run.process.pid), *family]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    out = run.finish(143)
    assert "ended by SIGTERM" in out
    assert f"go on with: metagenrl train --resume {run.folder}" in out
    assert "Failed to connect to GCS" not in out
    assert ended(family)


def test_a_run_whose_ray_has_died_ends_in_one_line(run: Any) -> None:
    family = train_until_round(run, "ray")
    kill(named(family, "/gcs_server"))
    out = run.finish(1)
    assert (
        "error: the Ray of this run has ended (its GCS); this process ends, go on with: "
        f"metagenrl train --resume {run.folder}\n"
    ) in out
    assert "Failed to connect to GCS" not in out
    assert ended(family)


def test_a_finished_run_says_so_and_starts_nothing(run: Any) -> None:
    run.start("--engine", "inprocess", "--wandb", "disabled", "--steps", "260").finish()
    before = (run.folder / "metrics.jsonl").read_bytes()
    out = run.resume().finish()
    assert f"this run has finished: {run.folder}; to train longer: --steps N" in out
    assert (run.folder / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    "line",
    [
        "test --objective random --env Pendulum-v1 --preset quickstart",
        "baseline --algo td3 --env Pendulum-v1 --preset quickstart",
        "baseline --algo epg --env Pendulum-v1 --preset quickstart --engine inprocess",
    ],
)
def test_a_signal_ends_agents_that_train_alone(line: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    own = [] if "epg" in line else ["--steps", "100000", "--seeds", "2", "--workers", "2"]
    process = forks.Popen(
        [*forks.METAGENRL, *line.split(), "--run-dir", str(folder), *own],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    sign, begun = ("objectives/*0.safetensors", 1) if "epg" in line else ("seeds/*.jsonl", 2)
    deadline = time.monotonic() + 300
    while sum(file.stat().st_size > 0 for file in folder.glob(sign)) < begun:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    family = psutil.Process(process.pid).children(recursive=True)
    send_as_timeout_does(process, signal.SIGTERM)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 143, out
    assert "ended by SIGTERM, go on with: metagenrl " in out
    assert "Traceback" not in out
    if own:
        assert len(list(folder.glob("seeds/seed-*.checkpoints/step-*"))) == 2
    assert ended(family)


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_a_signal_ends_a_sweep_and_its_jobs(signum: int, code: int, tmp_path: Path) -> None:
    options = {"algo": "td3", "env": "Pendulum-v1", "preset": "quickstart", "steps": 100_000}
    sweep = {"command": "baseline", "options": options, "grid": {"gamma": [0.9]}, "seeds": 1}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    words = ["sweep", "--file", str(tmp_path / "sweep.yaml"), "--out", str(tmp_path / "out")]
    process = forks.Popen(
        [*forks.METAGENRL, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    deadline = time.monotonic() + 300
    while not any(file.stat().st_size for file in tmp_path.glob("out/**/seeds/*.jsonl")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    family = psutil.Process(process.pid).children(recursive=True)
    send_as_timeout_does(process, signum)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == code, out
    assert "the same command goes on with those that are not done\n" in out
    assert f"ended by {signal.Signals(signum).name}\n" in out
    assert len(list(tmp_path.glob("out/**/seed-*.checkpoints/step-*"))) == 1
    assert ended(family)
