"""A study's jobs as Ray tasks."""

import sys
import threading
import time
from pathlib import Path

import pytest
import ray

from metagenrl.cluster.queue import RayTasks
from metagenrl.studies.job import Job
from metagenrl.studies.queue import RunnerClosed, run_jobs

PROGRAM = """
import os, pathlib, sys
folder = pathlib.Path(sys.argv[sys.argv.index("--run-dir") + 1])
folder.mkdir(parents=True)
print("bad" in sys.argv, os.getcwd())
sys.exit("bad" in sys.argv)
"""

SAVES = """
import pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[sys.argv.index("--run-dir") + 1])
folder.mkdir(parents=True)
def save(*_):
    time.sleep(1)
    (folder / "saved").touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
(folder / "began").touch()
while True:
    time.sleep(0.05)
"""


@pytest.mark.slow
def test_jobs_run_in_order_on_ray_and_fail_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (sys.executable, "-c", PROGRAM)
    first = Job(tmp_path / "first", ("x",), program=program)
    second = Job(tmp_path / "second", ("x",), after=(first.folder,), program=program)
    bad = Job(tmp_path / "bad", ("bad",), program=program)
    said: list[str] = []
    RayTasks().close()  # its Ray works in another folder than this process will
    monkeypatch.chdir(tmp_path)
    tasks = RayTasks()
    try:
        assert tasks.cpus >= 1
        assert run_jobs([second, bad, first], tasks.cpus, tasks, said.append) == [bad]
    finally:
        tasks.close()
        ray.shutdown()
    assert first.done
    assert second.done
    assert bad.log.read_text() == f"True {tmp_path}\n"
    order = [Path(line.split(":")[0]).name for line in said if "exit" in line]
    assert order.index("first") < order.index("second")


@pytest.mark.slow
def test_jobs_that_are_ended_save_and_have_not_failed(tmp_path: Path) -> None:
    runs = Job(tmp_path / "runs", ("x",), program=(sys.executable, "-c", SAVES))
    said: list[str] = []
    raised: list[BaseException] = []
    tasks = RayTasks()

    def queue() -> None:
        try:
            run_jobs([runs], 1, tasks, said.append)
        except BaseException as error:
            raised.append(error)

    try:
        thread = threading.Thread(target=queue)
        thread.start()
        deadline = time.monotonic() + 120
        while not (runs.folder / "began").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        tasks.close()
        thread.join(120)
        assert not thread.is_alive()
        assert (runs.folder / "saved").exists()
        with pytest.raises(RunnerClosed):
            tasks(runs)
    finally:
        ray.shutdown()
    assert [type(error) for error in raised] == [RunnerClosed]
    assert said[1:] == [f"{runs.folder}: ended, it goes on with the same command"]
    assert not runs.done
