"""The rows of a run's metrics as they are written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from metagenrl.runs.row_codec import from_line
from metagenrl.runs.rows import EvaluationRow, MetricsRow, ObjectiveRow

OBJECTIVE_EVERY = 10
"""Versions between those that are taken; the file has them all."""


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
