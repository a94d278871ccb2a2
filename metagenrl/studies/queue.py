"""Runs jobs on the local cores, each when what it waits for is done.

Another place to run them (a Ray cluster) is another `Runner`; everything else stays as it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import IO, Protocol

from metagenrl.base.checks import UsageError
from metagenrl.base.process import end_with_parent
from metagenrl.studies.job import Job, environment

Say = Callable[[str], None]

_LOCK, _TURN = ".lock", ".lock-turn"
TERM_SECONDS = 60.0
"""Time that jobs have to save what they are at."""


class RunnerClosed(Exception):  # noqa: N818 - it is no fault
    """The job was ended, or not begun, since the runner was closed."""


class Runner(Protocol):
    """Where jobs run."""

    def __call__(self, job: Job) -> int:
        """Carry a job out and return its exit code; called from several threads.

        Raises `RunnerClosed`.
        """

    def close(self) -> None:
        """End what runs."""


def start(job: Job, folder: str | None = None) -> subprocess.Popen[bytes]:
    """The job's process, which is asked to end when the thread that starts it does, however.

    `folder` is its working directory, else it is this process's.
    """
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    with open(job.log, "ab") as log:
        return subprocess.Popen(
            job.begin(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(),
            cwd=folder,
            start_new_session=True,  # Ctrl-C comes to us alone, and we end it
            preexec_fn=end_with_parent,
        )


def end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask processes to end (SIGTERM), and kill those that do not within `TERM_SECONDS`."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + TERM_SECONDS
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
            continue
        process.kill()


class LocalProcesses:
    """Runs each job as a process of this machine, and ends those that run when it is closed."""

    def __init__(self) -> None:
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._closed = False

    def __call__(self, job: Job) -> int:
        """See `Runner`."""
        with self._lock:
            if self._closed:
                raise RunnerClosed
            process = start(job)
            self._processes.add(process)
        try:
            code = process.wait()
        finally:
            with self._lock:
                self._processes.discard(process)
        if code and self._closed:
            raise RunnerClosed
        return code

    def close(self) -> None:
        """Ask the processes that run to end, and kill those that do not."""
        with self._lock:
            self._closed = True
            running = list(self._processes)
        end(running)


def run_jobs(jobs: Sequence[Job], at_once: int, runner: Runner, say: Say = print) -> list[Job]:
    """Run those that are not done, in order as far as they need not wait; the ones that failed.

    A job that waits for one that failed counts as failed and is not started. Jobs that are done
    are left alone. Raises `RunnerClosed` where another thread has closed the runner.
    """
    waiting = [job for job in jobs if not job.done]
    say(f"{len(waiting)} of {len(jobs)} jobs to do, {at_once} at a time")
    failed: list[Job] = []
    running: dict[Future[int], Job] = {}
    with ThreadPoolExecutor(at_once) as pool:
        try:
            while waiting or running:
                for job in [j for j in waiting if j.ready][: at_once - len(running)]:
                    waiting.remove(job)
                    running[pool.submit(_timed, job, runner, say)] = job
                if not running:  # all wait for jobs that failed, or are not in this share
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    job = running.pop(future)
                    if future.result() == 0:
                        job.finish()
                    else:
                        failed.append(job)
        except BaseException:  # Ctrl-C: the pool would wait for what runs
            runner.close()
            raise
    for job in failed:
        say(f"failed: {job.folder} (see {job.log})")
    if waiting:
        say(f"{len(waiting)} jobs wait for others that are not done")
    return [*failed, *waiting]


def run_here(jobs: Sequence[Job], at_once: int) -> list[Job]:
    """`run_jobs` on this machine; the jobs that failed."""
    runner = LocalProcesses()
    try:
        return run_jobs(jobs, at_once, runner)
    finally:
        runner.close()


def _timed(job: Job, runner: Runner, say: Say) -> int:
    began = time.monotonic()
    try:
        code = runner(job)
    except RunnerClosed:
        say(f"{job.folder}: ended, it goes on with the same command")
        raise
    say(f"{job.folder}: exit {code} after {time.monotonic() - began:,.0f} s")
    return code


def share_of(jobs: Sequence[Job], share: int, shares: int) -> list[Job]:
    """The jobs of one of several workers: whole chains, dealt out in turn."""
    chains = list(dict.fromkeys(job.chain or str(job.folder) for job in jobs))
    mine = set(chains[share::shares])
    return [job for job in jobs if (job.chain or str(job.folder)) in mine]


@contextlib.contextmanager
def locked(out: Path, share: str = "") -> Iterator[None]:
    """Keep a second queue off the same folder. Raises `UsageError` where there is one.

    Workers with a `share` each (K/N) work beside each other, all with the same number of parts.
    The kernel's locks end with their holder: a crash blocks nobody.
    """
    out.mkdir(parents=True, exist_ok=True)
    number, parts = map(str, map(int, share.split("/"))) if share else ("", "")
    with contextlib.ExitStack() as stack:
        whole = stack.enter_context(open(out / _LOCK, "a+"))
        with open(out / _TURN, "a") as turn:  # what is found holds until all locks are taken
            with contextlib.suppress(OSError):  # a file system without locks: refused below
                fcntl.flock(turn, fcntl.LOCK_EX)
            if _got(whole, fcntl.LOCK_EX):  # nobody else is here: who was is gone
                whole.truncate(0)
                whole.write(parts)
                whole.flush()
            elif not share or not _got(whole, fcntl.LOCK_SH):
                raise _in_use(out, "another command works on it")
            whole.seek(0)
            others = whole.read()
            if others != parts:
                raise _in_use(out, f"workers with shares of {others} work on it")
            if share:
                _got(whole, fcntl.LOCK_SH)
                mine = stack.enter_context(open(out / f"{_LOCK}{number}-of-{parts}", "a"))
                if not _got(mine, fcntl.LOCK_EX):
                    raise _in_use(out, f"another command works on its share {number}/{parts}")
        yield


def _got(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _in_use(out: Path, why: str) -> UsageError:
    return UsageError(
        f"out: got {str(out)!r} ({why}), allowed: a folder that no running command uses"
    )
