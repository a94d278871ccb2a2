"""`metrics.jsonl`: append-only while a run lasts, cut back where it is resumed.

A failure to write is logged and swallowed: training goes on, and the rows are tried again with the
next ones.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metagenrl.base.files.atomic import write_atomic
from metagenrl.runs.names import METRICS_FILE
from metagenrl.runs.row_codec import from_line, to_line
from metagenrl.runs.rows import AgentRow, EvaluationRow, EventRow, ObjectiveRow, Row
from metagenrl.runs.run_records import HeldOutRow, ScoreRow, SnapshotRow, SystemRow

WAITING_BYTES = 16 << 20
"""Rows that wait for a disk to have room again; beyond it the oldest are given up."""
_TOLD = 3
"""Damaged lines of a file that are told one by one."""

logger = logging.getLogger(__name__)


class MetricsWriter:
    """Appends rows to a file that it alone writes to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lost = 0  # rows that were given up
        self.kept = 0  # rows that the last `truncate_after` left
        self._waiting: deque[bytes] = deque()  # lines that could not be written yet
        self._file: io.FileIO | None = None
        self._end = 0  # bytes of complete lines
        self._failing = False

    def write(self, rows: Sequence[Row]) -> None:
        """Append `rows`; on return the operating system has them, so that a kill loses none.

        Either all of them are in the file or none is: then they wait for the next call or for
        `close`. The first of several failures in a row is logged, and so is their end.
        """
        if not rows:
            return
        self._waiting.extend(to_line(row).encode() for row in rows)
        self._write_waiting()

    def _write_waiting(self) -> None:
        try:
            self._append(b"".join(self._waiting))
        except Exception as error:
            self._failed(error)
            self._give_up_oldest()
            return
        if self._failing:
            missing = f", {self.lost} rows are missing" if self.lost else ", no row is missing"
            logger.warning("%s: written again%s", self.path, missing)
        self._failing = False
        self._waiting.clear()

    def _give_up_oldest(self) -> None:
        size = sum(map(len, self._waiting))
        while size > WAITING_BYTES:
            size -= len(self._waiting.popleft())
            self.lost += 1

    def truncate_after(self, round: int) -> None:
        """Remove the rows of later rounds, which a resumed run will write again.

        What is no row (a line that a killed process left half-written) goes as well. Replaces the
        file by rename: a process killed here leaves the old one or the new one. Failures are
        logged and swallowed.
        """
        self.close()
        if not self.path.exists():
            return
        try:
            lines = [line for line in _lines(self.path) if _round(line) <= round]
            self.kept = len(lines)
            write_atomic(self.path, lines)
        except Exception as error:
            self._failed(error)

    def close(self) -> None:
        """Write what waits, and close the file; a later `write` opens it again."""
        if self._waiting:
            self._write_waiting()
        self._close_file()

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _append(self, data: bytes) -> None:
        if self._file is not None and not _is_at(self._file, self.path):
            self._close_file()  # the run's folder was moved or removed
        file = self._file = self._file or self._open()
        try:
            view = memoryview(data)
            while view:  # a raw write may take less than all, at a full disk for one
                view = view[file.write(view) :]
        except BaseException:
            with contextlib.suppress(OSError):
                file.truncate(self._end)
            self._close_file()
            raise
        self._end += len(data)

    def _open(self) -> io.FileIO:
        file = io.FileIO(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644), "r+")
        try:
            self._end = _complete_bytes(file)
            file.truncate(self._end)
        except BaseException:
            file.close()
            raise
        return file

    def _failed(self, error: Exception) -> None:
        if not self._failing:
            reason = error.strerror if isinstance(error, OSError) else repr(error)
            logger.warning("%s: not written (%s), training goes on", self.path, reason)
        self._failing = True


@dataclass(frozen=True)
class Metrics:
    """All rows of a meta-training run, in the order in which they were written."""

    agents: list[AgentRow]
    objective: list[ObjectiveRow]
    events: list[EventRow]
    snapshots: list[SnapshotRow] = field(default_factory=list)
    system: list[SystemRow] = field(default_factory=list)
    held_out: list[HeldOutRow] = field(default_factory=list)
    scores: list[ScoreRow] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Put a row with those of its kind; one of an evaluation is none of this run's."""
        lists: dict[type[Any], list[Any]] = {
            AgentRow: self.agents, ObjectiveRow: self.objective, EventRow: self.events,
            SnapshotRow: self.snapshots, SystemRow: self.system, HeldOutRow: self.held_out,
            ScoreRow: self.scores,
        }  # fmt: skip
        if type(row) in lists:
            lists[type(row)].append(row)


def read_metrics(run_dir: Path) -> Metrics:
    """The rows of a run, those that are damaged left out; none where there is no file."""
    metrics = Metrics([], [], [])
    for row in iter_rows(run_dir / METRICS_FILE):
        metrics.add(row)
    return metrics


def rows_of_kind(path: Path, kind: str) -> list[Row]:
    """The rows of one kind in a file, without taking the time to parse the others.

    What is damaged is left out, as by `iter_rows`.
    """
    start = f'{{"kind": "{kind}", '.encode()
    if not path.exists():
        return []
    numbered = enumerate(_read_lines(path), start=1)
    return list(_sound(path, ((n, line) for n, line in numbered if line.startswith(start))))


def iter_rows(path: Path, kind: str | None = None) -> Iterator[Row]:
    """The rows of a file; `kind` is what a line without one is.

    A damaged line is skipped with a warning, but for an unfinished last one, which only means
    that its writer was killed or is still at work.
    """
    if path.exists():
        yield from _sound(path, enumerate(_read_lines(path, kind), start=1), kind)


def _read_lines(path: Path, kind: str | None = None) -> Iterator[bytes]:
    """The lines for a reader: an editor may have marked the beginning, or left out the last end."""
    with open(path, "rb") as file:
        for number, line in enumerate(file):
            own = line if number else line.removeprefix(codecs.BOM_UTF8)
            if own.endswith(b"\n") or _is_row(own, kind):
                yield own


def _is_row(line: bytes, kind: str | None) -> bool:
    try:
        from_line(line, kind)
    except ValueError:
        return False
    return True


def _sound(
    path: Path, lines: Iterable[tuple[int, bytes]], kind: str | None = None
) -> Iterator[Row]:
    skipped = 0
    for number, line in lines:
        try:
            yield from_line(line, kind)
        except ValueError as error:
            skipped += 1
            if skipped <= _TOLD:
                logger.warning("%s, line %d is skipped: %s", path, number, error)
    if skipped > _TOLD:
        logger.warning("%s: %d more lines are skipped", path, skipped - _TOLD)


def _lines(path: Path) -> Iterator[bytes]:
    """The complete lines of a file."""
    with open(path, "rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line


def _round(line: bytes) -> float:
    """A row's round; infinite for what is no row."""
    try:
        row = from_line(line)
    except ValueError:
        return float("inf")
    return float("inf") if isinstance(row, EvaluationRow) else row.round


def _is_at(file: io.FileIO, path: Path) -> bool:
    """Whether `path` still leads to an open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _complete_bytes(file: io.FileIO) -> int:
    """Where the last complete line ends."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - io.DEFAULT_BUFFER_SIZE)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
