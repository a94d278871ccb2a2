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
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

from metagenrl.cluster.follower_job import FollowerJob
from metagenrl.cluster.metrics import METRICS_FILE
from metagenrl.cluster.records import EvaluationRow, MetricsRow, ObjectiveRow, from_line
from metagenrl.cluster.run_records import ScoreRow, SnapshotRow
from metagenrl.cluster.tracked_values import Values, ValueTable
from metagenrl.cluster.tracking import SAYS
from metagenrl.objective_server.atomic import write_atomic

POLL_SECONDS = 1.0
LOCK_SECONDS = 90.0
"""Seconds that a killed run's follower may take to finish before the resumed run's goes on."""
OBJECTIVE_EVERY = 10
"""Versions between the shown ones; `metrics.jsonl` has them all."""
PROGRESS_FILE = "progress.json"
_NICENESS = 10
_STDIN = 0


class Sink(Protocol):
    """A tracker."""

    def log(self, values: Values, step: int) -> None:
        """Show values; `step` only ever rises."""
        ...

    def snapshot(self, row: SnapshotRow) -> None:
        """Keep a version of alpha."""
        ...

    def rows(self, rows: list[MetricsRow]) -> None:
        """All rows as they come, for what is made of more than one."""
        ...

    def finish(self) -> None:
        """Show what is left and close."""
        ...


class Follower:
    """Feeds a sink from a run's rows; restarted, it goes on where its predecessor was."""

    def __init__(self, job: FollowerJob, sink: Sink) -> None:
        self._sink = sink
        self._table = ValueTable(job.agents)
        self._progress = job.folder / PROGRESS_FILE
        self._step, self._seen = _read_progress(self._progress)
        self._lines = LineReader(Path(job.run_dir) / METRICS_FILE)

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
        rows = [row for row in self._lines.new_rows() if row.round > self._seen]
        if not rows:
            return
        self._sink.rows(rows)
        for row in rows:
            if isinstance(row, SnapshotRow):
                self._sink.snapshot(row)
        for batch in _batches(rows):
            values = self._table.values(batch)
            if values:
                self._step = max(self._step + 1, batch[-1].round)
                self._sink.log(values, self._step)
        self._note(max(row.round for row in rows))

    def _note(self, seen: int) -> None:
        content = json.dumps({"step": self._step, "round": seen}).encode()
        write_atomic(self._progress, [content])


class LineReader:
    """The complete lines of a growing file; it stays with the file that it opened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def new_rows(self) -> list[MetricsRow]:
        """The rows since the last call; what is no row is left out."""
        if self._file is None and self._path.exists():
            # Not by path again: a resumed run puts another file there, with a follower of its own.
            self._file = open(self._path, "rb")  # noqa: SIM115 - open until the process ends
        if self._file is None:
            return []
        rows = []
        while (line := self._file.readline()).endswith(b"\n"):
            row = _parsed(line)
            if row is not None:
                rows.append(row)
        self._file.seek(-len(line), os.SEEK_CUR)  # half a line: whole the next time
        return rows


def _parsed(line: bytes) -> MetricsRow | None:
    try:
        row = from_line(line)
    except ValueError:
        return None
    if isinstance(row, ObjectiveRow) and row.version % OBJECTIVE_EVERY:
        return None
    return None if isinstance(row, EvaluationRow) else row


def _batches(rows: list[MetricsRow]) -> Iterator[list[MetricsRow]]:
    """Rows that are shown at one step: those of a round, each score on its own."""
    batch: list[MetricsRow] = []
    for row in rows:
        batch.append(row)
        if isinstance(row, ScoreRow):
            yield batch
            batch = []
    # Results came between: the rest is cut where the round changes.
    yield from (list(group) for _, group in itertools.groupby(batch, lambda row: row.round))


def _read_progress(path: Path) -> tuple[int, int]:
    """Last step and round that were shown; -1 where nothing was."""
    try:
        content = json.loads(path.read_bytes())
        return int(content["step"]), int(content["round"])
    except (OSError, ValueError, KeyError, TypeError):
        return -1, -1


def open_sink(job: FollowerJob) -> Sink:
    """The tracker that the job names; only its own libraries are imported."""
    if job.tracker == "tensorboard":
        from metagenrl.cluster.tensorboard_log import TensorBoardLog

        return TensorBoardLog(job.folder)
    from metagenrl.cluster.wandb_log import WandbLog

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
    with open(_STDIN, "rb", buffering=0, closefd=False) as stdin:
        job = FollowerJob.from_json(stdin.readline())
    stop = threading.Event()
    threading.Thread(target=_watch_driver, args=(stop,), daemon=True).start()
    with _wait_for_predecessor(job.folder):
        Follower(job, open_sink(job)).follow(stop)


def _watch_driver(stop: threading.Event) -> None:
    while os.read(_STDIN, 1):
        pass
    stop.set()


if __name__ == "__main__":
    main()
