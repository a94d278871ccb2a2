"""Trains agents side by side, each in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from metagenrl.cluster.trainee_job import TraineeJob

WORKER = "metagenrl.cluster.trainee_worker"
_POLL_SECONDS = 0.2
_STOP_SECONDS = 5.0
_DETAIL_BYTES = 20_000


@dataclass(frozen=True)
class Ended:
    """A process that came to its end."""

    seed: int
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
        if code == 0:
            if not self.job.log.stat().st_size:
                self.job.log.unlink()
            return Ended(self.job.seed)
        detail = _end_of(self.job.log)
        return Ended(self.job.seed, _reason(code, detail), detail)

    def release(self) -> None:
        """Close its standard input, at which a process that still runs ends."""
        if self.process.stdin is not None:
            self.process.stdin.close()


def train_all(
    jobs: Iterable[TraineeJob],
    workers: int,
    on_poll: Callable[[Sequence[int]], None],
    on_end: Callable[[Ended], None],
) -> None:
    """Carry out all jobs, `workers` at a time.

    `on_poll` gets the seeds that are running, some times a second; `on_end` each process's end.
    Whatever is raised in here, KeyboardInterrupt included, first ends the processes.
    """
    waiting, running = list(jobs), list[_Child]()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                running.append(_start(waiting.pop(0)))
            time.sleep(_POLL_SECONDS)
            ends = [(child, child.ended()) for child in running]
            running = [child for child, end in ends if end is None]
            on_poll([child.job.seed for child in running])
            for _, end in ends:
                if end is not None:
                    on_end(end)
    finally:
        _stop(running)


def _start(job: TraineeJob) -> _Child:
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        # What can be imported here can be there: environments may live in the user's own modules.
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
    }
    with open(job.log, "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", WORKER],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C comes to us alone, and we end it
        )
    child = _Child(job, process)
    try:
        assert process.stdin is not None
        process.stdin.write(job.to_json().encode() + b"\n")
        process.stdin.flush()
    except BrokenPipeError:
        pass  # it is dead already; its end tells why
    except BaseException:
        _stop([child])
        raise
    return child


def _stop(children: Sequence[_Child]) -> None:
    for child in children:
        child.release()
    deadline = time.monotonic() + _STOP_SECONDS
    for child in children:
        try:
            child.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()


def _reason(code: int, detail: str) -> str:
    if code < 0:
        return f"its process was killed by {signal.Signals(-code).name}"
    lines = detail.strip().splitlines()
    return lines[-1] if lines else f"its process ended with exit code {code}"


def _end_of(log: Path) -> str:
    with open(log, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _DETAIL_BYTES))
        return file.read().decode(errors="replace")
