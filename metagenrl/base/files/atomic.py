"""Files that appear complete or not at all, with the hash of what was written."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from metagenrl.base.files.errors import CorruptFile, naming


@dataclass(frozen=True)
class FileRecord:
    """The hash and the size of a complete file."""

    sha256: str
    size: int  # bytes

    def verify(self, path: Path, found: FileRecord) -> None:
        """Raise `CorruptFile` unless `found`, read from `path`, is this record."""
        if found.size != self.size:
            kind = "truncated" if found.size < self.size else "wrong size"
            raise CorruptFile(path, kind, f"{self.size} bytes", f"{found.size} bytes")
        if found.sha256 != self.sha256:
            raise CorruptFile(path, "wrong hash", self.sha256, found.sha256)


SEAL_BYTES = hashlib.sha256().digest_size
"""Bytes at the end of a sealed file: the sha256 of all that is before them."""
_BLOCK = 1 << 20


def write_atomic(
    path: Path,
    chunks: Iterable[bytes | memoryview],
    durable: bool = False,
    sealed: bool = False,
) -> FileRecord:
    """Write `chunks` to `path` through a temporary file beside it and a rename.

    `sealed`: and behind them their sha256, which `sealed_record_of` checks.

    A process killed at any moment leaves the former file. With `durable` the file and its folder
    are also on the disk (fsync) on return, so that the same holds for a machine that loses power.
    There is one writer per path: the temporary name is fixed, so that what a killed writer left
    is overwritten by the next. Raises `OSError` (disk full, not writable); `path` is then as it
    was, and the temporary file is gone.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with naming(path), open(temporary, "wb") as file:
            record = _write(file, chunks, sealed)
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
    return record


def _write(file: IO[bytes], chunks: Iterable[bytes | memoryview], sealed: bool) -> FileRecord:
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        file.write(chunk)
        digest.update(chunk)
        size += len(chunk)
    if sealed:
        seal = digest.digest()
        file.write(seal)
        digest.update(seal)
        size += len(seal)
    return FileRecord(digest.hexdigest(), size)


def remove_temporary(folder: Path) -> None:
    """Remove what killed writers of `write_atomic` left; call it from the one writer."""
    for path in folder.glob(".*.tmp"):
        path.unlink()


def write_over(
    path: Path, chunks: Iterable[bytes | memoryview], sealed: bool = False
) -> FileRecord:
    """Write `chunks` (and their seal) over what `path` holds, which must be there already.

    For one of two copies: killed here, or on a full disk (`OSError`), it is neither the former
    file nor the new one. A rename over a file makes ext4 begin to write to the disk at once,
    which costs more than all the rest of a small commit; this does not.
    """
    with open(path, "r+b") as file:
        record = _write(file, chunks, sealed)
        file.truncate()
    return record


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


def sealed_record_of(path: Path) -> FileRecord:
    """`record_of` a sealed file. Raises `CorruptFile` where its seal is not that of its content."""
    try:
        with open(path, "rb", buffering=0) as file:
            left = size = os.fstat(file.fileno()).st_size
            if size < SEAL_BYTES:
                raise CorruptFile(path, "truncated", f"{SEAL_BYTES} bytes or more", f"{size} bytes")
            digest = hashlib.sha256()
            while left > SEAL_BYTES and (block := file.read(min(_BLOCK, left - SEAL_BYTES))):
                digest.update(block)
                left -= len(block)
            seal = file.read(SEAL_BYTES)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise CorruptFile(path, "missing file") from None
    require_seal(seal, digest.digest(), path)
    digest.update(seal)
    return FileRecord(digest.hexdigest(), size)


def require_seal(seal: bytes, found: bytes, path: Path) -> None:
    """Raise `CorruptFile` unless a sealed file's last bytes are the hash `found` of the others."""
    if seal != found:
        raise CorruptFile(path, "wrong hash", seal.hex(), found.hex())


def read_bytes(path: Path) -> bytes:
    """A file's content. Raises `CorruptFile` where there is none."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise CorruptFile(path, "missing file") from None
