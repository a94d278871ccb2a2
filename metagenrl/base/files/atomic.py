"""Files that appear complete or not at all, with the hash of what was written."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from metagenrl.base.files.errors import CorruptFile


@dataclass(frozen=True)
class FileRecord:
    """What a complete file must look like."""

    sha256: str
    size: int  # bytes

    def verify(self, path: Path, found: FileRecord) -> None:
        """Raise `CorruptFile` unless `found`, read from `path`, is this record."""
        if found.size != self.size:
            kind = "truncated" if found.size < self.size else "wrong size"
            raise CorruptFile(path, kind, f"{self.size} bytes", f"{found.size} bytes")
        if found.sha256 != self.sha256:
            raise CorruptFile(path, "wrong hash", self.sha256, found.sha256)


def write_atomic(
    path: Path, chunks: Iterable[bytes | memoryview], durable: bool = False
) -> FileRecord:
    """Write `chunks` to `path` through a temporary file beside it and a rename.

    A process killed at any moment leaves the former file. With `durable` the file and its folder
    are also on the disk (fsync) on return, so that the same holds for a machine that loses power.
    There is one writer per path: the temporary name is fixed, so that what a killed writer left
    is overwritten by the next. Raises `OSError` (disk full, not writable); `path` is then as it
    was, and the temporary file is gone.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    digest, size = hashlib.sha256(), 0
    try:
        with open(temporary, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    if durable:
        sync_folder(path.parent)
    return FileRecord(digest.hexdigest(), size)


def remove_temporary(folder: Path) -> None:
    """Remove what killed writers of `write_atomic` left; call it from the one writer."""
    for path in folder.glob(".*.tmp"):
        path.unlink()


def write_over(path: Path, chunks: Iterable[bytes | memoryview]) -> FileRecord:
    """Write `chunks` over what `path` holds, which must be there already.

    For one of two copies: killed here, or on a full disk (`OSError`), it is neither the former
    file nor the new one. A rename over a file makes ext4 begin to write to the disk at once,
    which costs more than all the rest of a small commit; this does not.
    """
    digest, size = hashlib.sha256(), 0
    with open(path, "r+b") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        file.truncate()
    return FileRecord(digest.hexdigest(), size)


def sync_folder(folder: Path) -> None:
    """Put a folder's entries (names, renames) on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def record_of(path: Path) -> FileRecord:
    """Hash and size of a file. Raises `CorruptFile` where there is none."""
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256")
            return FileRecord(digest.hexdigest(), file.tell())
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise CorruptFile(path, "missing file") from None


def read_bytes(path: Path) -> bytes:
    """A file's content. Raises `CorruptFile` where there is none."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise CorruptFile(path, "missing file") from None
