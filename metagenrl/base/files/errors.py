"""Errors of files that are damaged or too new; each survives pickling between processes."""

# The names say what is wrong; "Error" would add nothing to `except CorruptFile`.
# ruff: noqa: N818

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from metagenrl.base.release import RELEASE


def reason_of(error: OSError) -> str:
    """The system's words, behind the file where the error names one."""
    reason = error.strerror or str(error)
    return reason if error.filename is None else f"{os.fsdecode(error.filename)}: {reason}"


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """An `OSError` in it names `path`: of a disk that is full the system names no file."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


class CorruptFile(ValueError):
    """A file is truncated, changed, missing, unexpected or of another kind; nothing was loaded."""

    def __init__(self, path: Path | str, reason: str, expected: str = "", found: str = "") -> None:
        super().__init__(str(path), reason, expected, found)
        self.path, self.reason = Path(path), reason
        self.expected, self.found = expected, found

    def __str__(self) -> str:
        values = f" (expected {self.expected}, found {self.found})" if self.expected else ""
        return f"{self.path}: {self.reason}{values}"


class FutureFormat(ValueError):
    """A file was written by a later version of this program than can be read here."""

    def __init__(self, path: Path | str, found: int, supported: int) -> None:
        super().__init__(str(path), found, supported)
        self.path, self.found, self.supported = Path(path), found, supported

    def __str__(self) -> str:
        return f"{self.path}: format version {self.found}, readable up to {self.supported}"


class NewerRelease(ValueError):
    """A file has a field that this release does not know, and a later release wrote it."""

    def __init__(self, path: Path | str, field: str, release: str) -> None:
        super().__init__(str(path), field, release)
        self.path, self.field, self.release = Path(path), field, release

    def __str__(self) -> str:
        return (
            f"{self.path}: the field {self.field!r} is unknown to metagenrl {RELEASE}; "
            f"metagenrl {self.release}, which wrote the file, reads it"
        )
