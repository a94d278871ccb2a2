"""The rows that a trained agent leaves behind, and the file in which it does.

Rows hold no times, so that equal runs leave equal files.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, cast

from metagenrl.base.files.atomic import write_atomic
from metagenrl.base.files.errors import CorruptFile, naming
from metagenrl.runs.follow_file import FileFollower
from metagenrl.runs.names import EVALUATIONS_FILE
from metagenrl.runs.row_codec import from_line, to_line
from metagenrl.runs.rows import EvaluationRow


@dataclass(frozen=True)
class EpisodeRow:
    """A finished training episode, exploration noise included; evaluations have rows of their own.

    The agent is the one whose evaluations are in the same file.
    """

    kind: ClassVar[str] = "episode"

    steps: int  # environment steps the agent has trained for
    episode_return: float  # undiscounted
    length: int  # steps


_EPISODE = f'{{"kind": "{EpisodeRow.kind}"'.encode()


class RowFile:
    """A file of rows that are out of this process as soon as they are written."""

    def __init__(self, path: Path) -> None:
        """Open `path`, keeping what is in it."""
        self.path = path
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - closed by `close`

    def write(self, *rows: EvaluationRow | EpisodeRow) -> None:
        """Add rows, all of them at once. Raises `OSError`, which names the file."""
        with naming(self.path):
            self._file.write("".join(map(_line, rows)).encode())

    def sync(self) -> int:
        """Put everything on the disk; the file's size in bytes."""
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def cut(self, size: int) -> None:
        """Forget what came after the first `size` bytes. Raises `CorruptFile` if there are less."""
        found = os.fstat(self._file.fileno()).st_size
        if found < size:
            raise CorruptFile(self.path, "truncated", f"{size} bytes or more", f"{found} bytes")
        self._file.truncate(size)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _line(row: EvaluationRow | EpisodeRow) -> str:
    if isinstance(row, EvaluationRow):
        return to_line(row)
    return json.dumps({"kind": row.kind} | vars(row)) + "\n"


class RowReader:
    """Follows the evaluations in a file that another process writes."""

    def __init__(self, path: Path) -> None:
        self._follower = FileFollower(path)

    def new_rows(self) -> list[EvaluationRow]:
        """The complete rows since the last call; from the start again where the file was cut.

        Raises `CorruptFile` for a line that is none.
        """
        rows = (self._row(line) for line in self._follower.new_lines())
        return [row for row in rows if row is not None]

    def _row(self, line: bytes) -> EvaluationRow | None:
        """The evaluation in a line, None where it is an episode."""
        try:
            if line.startswith(_EPISODE):
                return None
            return cast(EvaluationRow, from_line(line))
        except ValueError as error:
            raise CorruptFile(self._follower.path, f"damaged ({error})") from error

    def close(self) -> None:
        """Let the file go."""
        self._follower.close()


def evaluations(path: Path) -> list[EvaluationRow]:
    """All evaluations in one agent's file; a row that was cut off is left out."""
    with contextlib.closing(RowReader(path)) as reader:
        return reader.new_rows()


def is_finished(path: Path, steps: int) -> bool:
    """Whether the agent was evaluated after its last step."""
    return any(row.steps == steps for row in evaluations(path))


def merge_evaluations(run_dir: Path, paths: Iterable[Path]) -> list[EvaluationRow]:
    """Collect the evaluations of all agents in `evaluations.jsonl`, in the order of `paths`."""
    rows = [row for path in paths for row in evaluations(path)]
    write_atomic(run_dir / EVALUATIONS_FILE, [to_line(row).encode() for row in rows], durable=True)
    return rows
