"""A study's jobs as Ray tasks."""

import sys
from pathlib import Path

import pytest
import ray

from metagenrl.cluster.queue import RayTasks
from metagenrl.studies.job import Job
from metagenrl.studies.queue import run_jobs

PROGRAM = """
import pathlib, sys
folder = pathlib.Path(sys.argv[sys.argv.index("--run-dir") + 1])
folder.mkdir(parents=True)
print("bad" in sys.argv)
sys.exit("bad" in sys.argv)
"""


@pytest.mark.slow
def test_jobs_run_in_order_on_ray_and_fail_alone(tmp_path: Path) -> None:
    program = (sys.executable, "-c", PROGRAM)
    first = Job(tmp_path / "first", ("x",), program=program)
    second = Job(tmp_path / "second", ("x",), after=(first.folder,), program=program)
    bad = Job(tmp_path / "bad", ("bad",), program=program)
    said: list[str] = []
    tasks = RayTasks()
    try:
        assert tasks.cpus >= 1
        assert run_jobs([second, bad, first], tasks.cpus, tasks, said.append) == [bad]
    finally:
        tasks.close()
        ray.shutdown()
    assert first.done
    assert second.done
    assert bad.log.read_text() == "True\n"
    order = [Path(line.split(":")[0]).name for line in said if "exit" in line]
    assert order.index("first") < order.index("second")
