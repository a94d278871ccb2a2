"""Held-out tests as Ray tasks: on any node, without reserved CPUs, at the lowest priority."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray import ObjectRef
from ray.exceptions import RayError, RayTaskError

from metagenrl.base.files.atomic import write_atomic
from metagenrl.meta_test.pool import Ended
from metagenrl.runs.agent_job import TraineeJob

GET_TIMEOUT = 60.0


# max_calls: the process ends with the task, since it could not raise its priority again. Whether a
# test whose node or process died is begun anew is up to `HeldOut`, which counts the times.
@ray.remote(num_cpus=0, max_calls=1, max_retries=0)
def carry_out(job: TraineeJob, alpha: bytes) -> bytes:
    """Train the job's agent on this node; the content of its file of rows."""
    import torch

    from metagenrl.meta_test.worker_process import carry_out as live

    os.nice(job.niceness)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="metagenrl-") as folder:
        file = Path(folder) / "objective.safetensors"
        file.write_bytes(alpha)
        here = replace(job, folder=folder, objective=replace(job.objective, snapshot=str(file)))
        live(here)
        return here.rows.read_bytes()


def cluster_cpus() -> int:
    """CPUs of the cluster that this process has joined."""
    return int(ray.cluster_resources().get("CPU", 0.0))


class RayTrials:
    """The `Runner` on Ray: a test is a task, and the driver writes the rows that come back."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._waiting: deque[TraineeJob] = deque()
        self._running: dict[ObjectRef[Any], TraineeJob] = {}

    @property
    def outstanding(self) -> int:
        return len(self._waiting) + len(self._running)

    def submit(self, job: TraineeJob) -> None:
        self._waiting.append(job)

    def poll(self) -> list[Ended]:
        while self._waiting and len(self._running) < self.workers:
            job = self._waiting[0]
            alpha = Path(job.objective.snapshot).read_bytes()
            task: Any = carry_out  # type checkers see the plain function
            reference = task.options(scheduling_strategy="SPREAD").remote(job, alpha)
            self._running[reference] = self._waiting.popleft()
        if not self._running:
            return []
        done, _ = ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
        return [self._ended(reference) for reference in done]

    def _ended(self, reference: ObjectRef[Any]) -> Ended:
        job = self._running.pop(reference)
        try:
            rows: bytes = ray.get(reference, timeout=GET_TIMEOUT)
            write_atomic(job.rows, [rows], durable=True)
        except RayTaskError as error:
            return Ended(job, f"{type(error.cause).__name__}: {error.cause}", str(error))
        except (RayError, OSError) as error:
            return Ended(job, str(error).splitlines()[0], str(error))
        return Ended(job)

    def close(self) -> None:
        for reference in self._running:
            with contextlib.suppress(RayError):  # the cluster may be what went away
                ray.cancel(reference, force=True)
        self._running.clear()
        self._waiting.clear()
