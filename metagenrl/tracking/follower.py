"""The process that shows a run to one tracker: it follows `metrics.jsonl` as it grows.

The population's driver never talks to a tracker, so a tracker that fails or hangs costs it
nothing, and no row is lost that the file has. When the driver ends, or is killed, standard input
closes: the rest of the file is shown and the tracker closed. Run at low priority.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Protocol

from metagenrl.base.files.atomic import write_atomic
from metagenrl.base.job_process import read_job, when_parent_ends
from metagenrl.runs.follow_file import FileFollower
from metagenrl.runs.names import METRICS_FILE
from metagenrl.runs.rows import EvaluationRow, MetricsRow, ObjectiveRow, Row
from metagenrl.runs.run_records import ScoreRow, SnapshotRow
from metagenrl.tracking.follower_job import FollowerJob
from metagenrl.tracking.process import SAYS
from metagenrl.tracking.values import Values, ValueTable

POLL_SECONDS = 1.0
LOCK_SECONDS = 90.0
"""Seconds that a killed run's follower may take to finish before the resumed run's goes on."""
OBJECTIVE_EVERY = 10
"""Versions between those that are shown; the file has them all."""
PROGRESS_FILE = "progress.json"
_NICENESS = 10


class Sink(Protocol):
    """A tracker."""

    def log(self, values: Values, step: int) -> None:
        """Show values; `step` only ever rises."""
        ...

    def snapshot(self, row: SnapshotRow) -> None:
        """Keep a version of alpha."""
        ...

    def score(self, row: ScoreRow) -> None:
        """Note which version is best."""
        ...

    def remember(self, rows: list[MetricsRow]) -> None:
        """All rows as they come, shown or not, for what is made of many."""
        ...

    def finish(self) -> None:
        """Show what is left and close."""
        ...


def shown(rows: Iterable[Row]) -> list[MetricsRow]:
    """The rows that trackers take: every `OBJECTIVE_EVERY`th version, and no evaluations."""
    return [
        row
        for row in rows
        if not isinstance(row, EvaluationRow)
        and not (isinstance(row, ObjectiveRow) and row.version % OBJECTIVE_EVERY)
    ]


class Follower:
    """Feeds a sink from a run's rows; restarted, it goes on where its predecessor was."""

    def __init__(self, job: FollowerJob, sink: Sink) -> None:
        self._sink = sink
        self._table = ValueTable(job.agents)
        self._progress = job.folder / PROGRESS_FILE
        self._step, self._seen = _read_progress(self._progress)
        self._rows = FileFollower(Path(job.run_dir) / METRICS_FILE, stay=True)

    def follow(self, stop: threading.Event) -> None:
        """Until `stop` is set and everything written before that is shown."""
        while True:
            last = stop.is_set()  # asked before reading: what is there now is still to be shown
            self.catch_up()
            if last:
                break
            stop.wait(POLL_SECONDS)
        self._sink.finish()

    def catch_up(self) -> None:
        """Show the rows that were written since the last call."""
        rows = shown(self._rows.new_rows())
        if not rows:
            return
        self._sink.remember(rows)
        for batch in _batches(rows):
            values = self._table.values(batch)  # also of what a predecessor has shown
            if batch[-1].round > self._seen:
                self._show(batch, values)
        self._note(max(self._seen, *(row.round for row in rows)))

    def _show(self, batch: list[MetricsRow], values: Values) -> None:
        for row in batch:
            if isinstance(row, SnapshotRow):
                self._sink.snapshot(row)
            elif isinstance(row, ScoreRow):
                self._sink.score(row)
        if values:
            self._step = max(self._step + 1, batch[-1].round)
            self._sink.log(values, self._step)

    def _note(self, seen: int) -> None:
        content = json.dumps({"step": self._step, "round": seen}).encode()
        write_atomic(self._progress, [content])


def _batches(rows: list[MetricsRow]) -> Iterator[list[MetricsRow]]:
    """Rows that are shown at one step: those of a round, up to each score."""
    batch: list[MetricsRow] = []
    for row, following in itertools.zip_longest(rows, rows[1:]):
        batch.append(row)
        if following is None or following.round != row.round or isinstance(row, ScoreRow):
            yield batch
            batch = []


def _read_progress(path: Path) -> tuple[int, int]:
    """Last step and round that were shown; -1 where nothing was."""
    try:
        content = json.loads(path.read_bytes())
        return int(content["step"]), int(content["round"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return -1, -1


def open_sink(job: FollowerJob) -> Sink:
    """The tracker that the job names; only its own libraries are imported."""
    if job.tracker == "tensorboard":
        from metagenrl.tracking.tensorboard import TensorBoardLog

        return TensorBoardLog(job.folder)
    from metagenrl.tracking.wandb.population import WandbLog

    return WandbLog(job)


def _wait_for_predecessor(folder: Path) -> IO[str]:
    """Hold the folder's lock, which the follower of a killed run may still have for a while."""
    file = open(folder / "lock", "w")  # noqa: SIM115 - held until the process ends
    deadline = time.monotonic() + LOCK_SECONDS
    while time.monotonic() < deadline:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            time.sleep(0.2)
    return file


def main() -> None:
    """Carry out the job on standard input until that closes."""
    os.nice(_NICENESS)
    logging.basicConfig(level=logging.WARNING, format=f"{SAYS}%(message)s", stream=sys.stdout)
    job = FollowerJob.from_json(read_job())
    stop = threading.Event()
    when_parent_ends(stop.set)
    with _wait_for_predecessor(job.folder):
        Follower(job, open_sink(job)).follow(stop)


if __name__ == "__main__":
    main()
