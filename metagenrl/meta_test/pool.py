"""Trains agents side by side, each in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from metagenrl.base.ending import SIGNAL_EXIT
from metagenrl.base.job_process import kill_session, start_process
from metagenrl.runs.agent_files import is_finished
from metagenrl.runs.agent_job import TraineeJob

WORKER = "metagenrl.meta_test.worker_process"
SAVE_SECONDS = 60.0
"""Seconds that agents have to save their states once the command is told to end."""
_POLL_SECONDS = 0.2
_STOP_SECONDS = 5.0
_DETAIL_BYTES = 20_000


@dataclass(frozen=True)
class Ended:
    """A process that came to its end."""

    job: TraineeJob
    failure: str = ""
    """Why, in one line; empty: it did its job."""
    detail: str = ""
    """The end of what it logged, the traceback included; empty where it did its job."""


@dataclass(frozen=True)
class _Child:
    job: TraineeJob
    process: subprocess.Popen[bytes]

    def ended(self) -> Ended | None:
        """How it ended, None while it runs."""
        code = self.process.poll()
        if code is None:
            return None
        self.release()
        if code == 0 and is_finished(self.job.rows, self.job.steps):
            if not self.job.log.stat().st_size:
                self.job.log.unlink()
            return Ended(self.job)
        detail = _end_of(self.job.log)
        return Ended(self.job, _reason(code, detail), detail)

    def release(self) -> None:
        """Close its standard input, at which a process that still runs ends."""
        if self.process.stdin is not None:
            self.process.stdin.close()


class TraineePool:
    """Processes that train agents, at most `workers` at a time; nothing here waits for them."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._waiting: deque[TraineeJob] = deque()
        self._running: list[_Child] = []

    @property
    def outstanding(self) -> int:
        """Jobs that have not ended."""
        return len(self._waiting) + len(self._running)

    @property
    def running(self) -> list[TraineeJob]:
        """Jobs whose processes live, as far as `poll` knows."""
        return [child.job for child in self._running]

    def submit(self, job: TraineeJob) -> None:
        """Carry the job out once there is a free worker."""
        self._waiting.append(job)

    def poll(self) -> list[Ended]:
        """The jobs that ended since the last call; starts those that can start."""
        ends = [(child, child.ended()) for child in self._running]
        self._running = [child for child, end in ends if end is None]
        while self._waiting and len(self._running) < self.workers:
            job = self._waiting[0]
            self._running.append(_Child(job, start_process(WORKER, job.to_json(), job.log)))
            self._waiting.popleft()  # not before: what could not be started is tried again
        return [end for _, end in ends if end is not None]

    def save(self) -> None:
        """Let every agent save its state and end, for at most `SAVE_SECONDS`; start no more."""
        self._waiting.clear()
        for child in self._running:
            child.process.terminate()
        deadline = time.monotonic() + SAVE_SECONDS
        for child in self._running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, deadline - time.monotonic()))

    def close(self) -> None:
        """End the processes; they have their checkpoints to go on from."""
        _stop(self._running)
        self._running.clear()
        self._waiting.clear()


def train_all(
    jobs: Iterable[TraineeJob],
    workers: int,
    on_poll: Callable[[Sequence[int]], None],
    on_end: Callable[[Ended], None],
    told_to_end: Callable[[], bool] = lambda: False,
) -> None:
    """Carry out all jobs, `workers` at a time.

    `on_poll` gets the seeds that are running, some times a second; `on_end` each process's end.
    Whatever is raised in here, KeyboardInterrupt included, first ends the processes. Once
    `told_to_end` says so, the agents save their states and it returns.
    """
    pool = TraineePool(workers)
    for job in jobs:
        pool.submit(job)
    try:
        while pool.outstanding and not told_to_end():
            ends = pool.poll()
            on_poll([job.seed for job in pool.running])
            for end in ends:
                on_end(end)
            time.sleep(_POLL_SECONDS)
        if pool.outstanding:
            pool.save()
    finally:
        pool.close()


def _stop(children: Sequence[_Child]) -> None:
    for child in children:
        child.release()
    deadline = time.monotonic() + _STOP_SECONDS
    for child in children:
        try:
            child.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            kill_session(child.process)


def _reason(code: int, detail: str) -> str:
    if code == SIGNAL_EXIT + signal.SIGTERM:
        return "its process was told to end (SIGTERM) and saved its state"
    if code < 0:
        return f"its process was killed by {signal.Signals(-code).name}"
    if code == 0:
        return "its process ended before the last step: the environment may have called os._exit"
    lines = detail.strip().splitlines()
    told = [line for line in lines if line and not line.startswith(("Thread ", "  File "))]
    if told and told[-1].startswith("Timeout ("):  # faulthandler's, see `watchdog`
        return "its process hung and was ended"
    return lines[-1] if lines else f"its process ended with exit code {code}"


def _end_of(log: Path) -> str:
    with open(log, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _DETAIL_BYTES))
        return file.read().decode(errors="replace")
