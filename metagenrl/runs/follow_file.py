"""The one follower of a file of rows that another process writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from metagenrl.runs.row_codec import from_line
from metagenrl.runs.rows import Row


class FileFollower:
    """The complete lines of a growing file, each once.

    It begins again where the file was replaced or cut, as a resumed run does. With `stay` it reads
    on in the file that it opened: the one that took its place has a follower of its own.
    """

    def __init__(self, path: Path, stay: bool = False) -> None:
        """Nothing is opened yet; the file may come later."""
        self.path, self._stay = path, stay
        self._file: IO[bytes] | None = None

    def new_lines(self) -> Iterator[bytes]:
        """The lines since the last call; none where there is no file."""
        if self._file is not None and not self._stay and self._began_again(self._file):
            self.close()
        if self._file is None:
            try:
                self._file = open(self.path, "rb")  # noqa: SIM115 - closed by `close`
            except FileNotFoundError:
                return
        while (line := self._file.readline()).endswith(b"\n"):
            yield line
        self._file.seek(-len(line), os.SEEK_CUR)  # half a line: whole the next time

    def new_rows(self) -> Iterator[Row]:
        """The rows since the last call; what is no row of a run is left out."""
        for line in self.new_lines():
            try:
                yield from_line(line)
            except ValueError:
                continue

    def close(self) -> None:
        """Let the file go; the next call opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __del__(self) -> None:
        """A status that was looked at once is dropped without a word."""
        self.close()

    def _began_again(self, file: IO[bytes]) -> bool:
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            return False
        replaced = not os.path.samestat(os.fstat(file.fileno()), there)
        return replaced or there.st_size < file.tell()
