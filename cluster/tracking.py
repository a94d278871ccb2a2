"""A run's trackers, as the driver sees them: processes that it starts and never waits for.

Ray's Prometheus endpoint alone is told by the driver itself, which only sets values in memory.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from metagenrl.cluster.config import TrainConfig
from metagenrl.cluster.config_io import to_dict
from metagenrl.cluster.follower_job import FollowerJob
from metagenrl.cluster.records import MetricsRow

if TYPE_CHECKING:  # Ray: only where the engine is
    from metagenrl.cluster.prometheus import PrometheusExport

FOLLOWER = "metagenrl.cluster.follower"
CLOSE_SECONDS = 90.0
"""Seconds that the end of a run waits for all trackers; one that hangs is then ended."""
POLL_SECONDS = 2.0
SAYS = "metagenrl: "
"""Begins a line of a follower's log that is for the user."""

logger = logging.getLogger(__name__)


class Tracking:
    """The trackers of one run; what they have to say becomes lines of the run's log."""

    def __init__(self, config: TrainConfig, run: str) -> None:
        self._followers = [_Process(job) for job in _jobs(config, run)]
        self._due = 0.0
        self._export = _prometheus(config)

    def take(self, rows: Sequence[MetricsRow]) -> None:
        """Rows that were written: followers read them themselves, Ray's endpoint is told."""
        if self._export is None:
            return
        try:
            self._export.take(rows)
        except Exception as error:
            self._export = None
            logger.warning("prometheus: %r; training goes on without it", error)

    def poll(self) -> None:
        """Pass on what trackers said, every few seconds; cheap enough for every round."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + POLL_SECONDS
            for follower in self._followers:
                follower.poll()

    def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """Let the trackers show the rest and end; after `timeout` seconds end them."""
        deadline = time.monotonic() + timeout
        for follower in self._followers:
            follower.release()
        for follower in self._followers:
            follower.wait(deadline)


def _prometheus(config: TrainConfig) -> PrometheusExport | None:
    if config.engine != "ray":
        return None
    from metagenrl.cluster.prometheus import PrometheusExport

    try:
        return PrometheusExport(config.run_dir.name, config.agents)
    except Exception as error:
        logger.warning("prometheus: %r; training goes on without it", error)
        return None


class _Process:
    """One follower; that it cannot be started, or died, is one line in the log."""

    def __init__(self, job: FollowerJob) -> None:
        self._job = job
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        try:
            job.folder.mkdir(exist_ok=True)
            self._process = _start(job)
            self._log = open(job.log, "rb")  # noqa: SIM115 - read until the run ends
        except OSError as error:
            logger.warning("%s: not started (%s)", job.tracker, error.strerror)

    def poll(self) -> None:
        if self._process is None:
            return
        code = self._process.poll()  # before the log: its last words are then in it
        self._pass_on()
        if code:
            logger.warning("%s: ended with exit code %d, see %s", *self._ended(code))
        if code is not None:
            self._process = None

    def _ended(self, code: int) -> tuple[str, int, Path]:
        return self._job.tracker, code, self._job.log

    def release(self) -> None:
        """Close its standard input: it finishes and ends."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def wait(self, deadline: float) -> None:
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            logger.warning("%s: did not end in time and was ended", self._job.tracker)
            os.killpg(self._process.pid, signal.SIGKILL)  # with the helpers that it started
            self._process.wait()
            self._pass_on()
            self._process = None
        self.poll()

    def _pass_on(self) -> None:
        for line in self._log or ():
            text = line.decode(errors="replace").rstrip()
            if text.startswith(SAYS):
                logger.warning("%s", text.removeprefix(SAYS))


def _start(job: FollowerJob) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
    }
    with open(job.log, "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", FOLLOWER],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C comes to the driver alone
        )
    assert process.stdin is not None
    try:
        process.stdin.write(job.to_json().encode() + b"\n")
        process.stdin.flush()
    except BrokenPipeError:
        pass  # it is dead already; its end tells why
    return process


def _jobs(config: TrainConfig, run: str) -> list[FollowerJob]:
    values, folder = to_dict(config), str(config.run_dir.absolute())
    jobs = []
    if config.wandb != "disabled":
        per_agent = config.tracking.wandb_per_agent
        jobs.append(
            FollowerJob("wandb", folder, run, config.agents, values, config.wandb, per_agent)
        )
    if config.tracking.tensorboard:
        jobs.append(FollowerJob("tensorboard", folder, run, config.agents, values))
    return jobs
