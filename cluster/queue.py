"""Runs the jobs of a study on a Ray cluster, each as a task of one CPU.

Run folders must lie on a file system that all nodes share. A task whose node is lost is started
again on another one, where its command goes on from the run folder.
"""

from __future__ import annotations

import threading
from typing import Any

import ray

from metagenrl.cluster.joining.connect import connect
from metagenrl.studies.job import Job
from metagenrl.studies.queue import start

RETRIES = 5
"""Times that a job is started again after its node or worker was lost."""
_LOOK_SECONDS = 2.0


@ray.remote(num_cpus=1, max_retries=RETRIES)
def _carry_out(job: Job) -> int:
    return start(job).wait()


class RayTasks:
    """See `Runner`; joins the cluster of RAY_ADDRESS, or starts a Ray of this machine."""

    def __init__(self) -> None:
        self.cpus = max(1, int(connect(lambda cpus: None)))
        self._closed = threading.Event()

    def __call__(self, job: Job) -> int:
        """Wait for the task; 1 where it was given up or its node was lost too often."""
        task: Any = _carry_out.remote(job)
        while not self._closed.is_set():
            done, _ = ray.wait([task], timeout=_LOOK_SECONDS)
            if done:
                try:
                    return int(ray.get(task, timeout=_LOOK_SECONDS))
                except ray.exceptions.RayError as error:
                    with open(job.log, "a") as log:
                        log.write(f"{error}\n")
                    return 1
        ray.cancel(task, force=True)
        return 1

    def close(self) -> None:
        """Cancel the tasks that run, which ends their processes."""
        self._closed.set()
