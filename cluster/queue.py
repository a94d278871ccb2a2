"""Runs the jobs of a study on a Ray cluster, each as a task of one CPU.

Run folders must lie on a file system that all nodes share. A task whose node is lost is started
again on another one, where its command goes on from the run folder.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import ray

from metagenrl.cluster.joining.connect import connect
from metagenrl.studies.job import Job
from metagenrl.studies.queue import TERM_SECONDS, RunnerClosed, end, start

RETRIES = 5
"""Times that a job is started again after its node or worker was lost."""
_LOOK_SECONDS = 2.0
_POLL_SECONDS = 0.2
_REPLY_SECONDS = 15.0
"""Beside `TERM_SECONDS`: what a task that is cancelled has to say that its job has ended."""


@ray.remote(num_cpus=1, max_retries=RETRIES)
def _carry_out(job: Job, folder: str) -> int:
    """The job's exit code; `folder` is the working directory, on nodes that have it."""
    told = threading.Event()
    # `ray.cancel` comes as SIGINT. As an exception it might come before the process has a name
    # here, and it does not wake who waits for a process.
    before = signal.signal(signal.SIGINT, lambda *_: told.set())
    try:
        process = start(job, folder if Path(folder).is_dir() else None)
        while (code := process.poll()) is None and not told.is_set():
            time.sleep(_POLL_SECONDS)
        if code is None:
            end([process])
        return process.wait()
    finally:
        signal.signal(signal.SIGINT, before)


class RayTasks:
    """See `Runner`; joins the cluster of RAY_ADDRESS, or starts a Ray of this machine."""

    def __init__(self) -> None:
        self.cpus = max(1, int(connect(lambda cpus: None)))
        self._folder = os.getcwd()
        self._closed = threading.Event()

    def __call__(self, job: Job) -> int:
        """Wait for the task; 1 where it was given up or its node was lost too often."""
        if self._closed.is_set():
            raise RunnerClosed
        task: Any = _carry_out.remote(job, self._folder)
        while not self._closed.is_set():
            done, _ = ray.wait([task], timeout=_LOOK_SECONDS)
            if done:
                return self._code_of(task, job)
        ray.cancel(task)
        done, _ = ray.wait([task], timeout=TERM_SECONDS + _REPLY_SECONDS)
        if not done:
            ray.cancel(task, force=True)
        raise RunnerClosed

    def _code_of(self, task: Any, job: Job) -> int:
        try:
            code = int(ray.get(task, timeout=_LOOK_SECONDS))
        except ray.exceptions.RayError as error:
            with open(job.log, "a") as log:
                log.write(f"{error}\n")
            return 1
        if code and self._closed.is_set():
            raise RunnerClosed
        return code

    def close(self) -> None:
        """Let the tasks that run end their jobs, as `LocalProcesses` does; their callers wait."""
        self._closed.set()
