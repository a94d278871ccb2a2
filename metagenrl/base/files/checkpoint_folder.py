"""Checkpoints as complete folders.

A checkpoint is a folder of states with a manifest (hash and size of every file) written last.
It is prepared under a temporary name and renamed, so that a process killed at any moment, or a
full disk, leaves every earlier checkpoint as it was and nothing that counts as complete. There
is one writer per parent folder; readers may come at any time. Nothing is ever unpickled.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from metagenrl.base.files.atomic import (
    FileRecord,
    read_bytes,
    record_of,
    sync_folder,
    write_atomic,
)
from metagenrl.base.files.errors import CorruptFile, FutureFormat
from metagenrl.base.files.state_codec import parse_document, render_document
from metagenrl.base.files.state_file import FORMAT, Records, read_verified, write_state

MANIFEST = "manifest.json"
_TEMPORARY = ".tmp-"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

logger = logging.getLogger(__name__)


def _require_name(field: str, name: str) -> None:
    if not _NAME.fullmatch(name) or f"{name}.json" == MANIFEST:
        allowed = "letters, digits, '.', '_', '-', first a letter or digit, not 'manifest'"
        raise ValueError(f"{field}: got {name!r}, allowed: {allowed}")


def write_folder(parent: Path, name: str, parts: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write the checkpoint `parent/name` with one state per part; on return it is on the disk.

    Raises `FileExistsError` where a complete one has that name (it is never overwritten; a
    damaged one is replaced), `ValueError` for a bad name or a value that is no state, and
    `OSError` where the disk is full: then nothing has changed and the temporary folder is gone.
    """
    for field, value in (("checkpoint", name), *(("checkpoint part", part) for part in parts)):
        _require_name(field, value)
    parent.mkdir(exist_ok=True)  # but nothing above it: a folder that was moved stays moved
    final = parent / name
    if final.exists() and _complete(final):
        raise FileExistsError(f"checkpoint {final}: exists and is complete; it is not overwritten")
    temporary = _temporary(parent, name)
    try:
        temporary.mkdir()
        records: Records = {}
        for part, state in parts.items():
            records |= write_state(temporary, part, state, durable=True)
        body = {
            "format": FORMAT,
            "parts": list(parts),
            "files": {file: [record.sha256, record.size] for file, record in records.items()},
        }
        write_atomic(temporary / MANIFEST, [render_document(body)], durable=True)
        if final.exists():
            _remove(final)
        os.rename(temporary, final)
        sync_folder(parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return final


def read_folder(path: Path, parts: Iterable[str] | None = None) -> dict[str, dict[str, Any]]:
    """The states of a checkpoint by part, or of the named `parts` only.

    The presence and size of every file and the content of those that are read are checked
    against the manifest. Raises `CorruptFile` naming the file and both hashes where one is
    truncated, changed, missing, swapped or not in the manifest; `FutureFormat`; and `ValueError`
    for a part that is not there.
    """
    there, files = _read_manifest(path)
    wanted = there if parts is None else list(parts)
    for part in wanted:
        if part not in there:
            raise ValueError(f"checkpoint part: got {part!r}, allowed: {', '.join(there)}")
    states = {}
    for part in wanted:
        # A swapped or older file is sound in itself: only the manifest tells.
        states[part], found = read_verified(path, part)
        for file, record in found.items():
            if file not in files:
                raise CorruptFile(path / MANIFEST, f"no record of {file}")
            files[file].verify(path / file, record)
    return states


def verify_folder(path: Path) -> None:
    """Check every file of a checkpoint without loading it. Raises as `read_folder` does."""
    for file, record in _read_manifest(path)[1].items():
        record.verify(path / file, record_of(path / file))


def _read_manifest(path: Path) -> tuple[list[str], Records]:
    """Parts and file records of a checkpoint whose files are all there in the right sizes."""
    manifest = path / MANIFEST
    body = parse_document(read_bytes(manifest), manifest, FORMAT)
    try:
        files = {file: FileRecord(*record) for file, record in body["files"].items()}
        parts = [str(part) for part in body["parts"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptFile(manifest, f"not a manifest: {error!r}") from None
    there = {entry.name for entry in path.iterdir()} - {MANIFEST}
    for file in sorted(there - set(files)):
        raise CorruptFile(path / file, "unexpected file, not in the manifest")
    for file, record in files.items():
        if file not in there:
            raise CorruptFile(path / file, "missing file")
        size = (path / file).stat().st_size
        if size != record.size:
            raise CorruptFile(path / file, "wrong size", f"{record.size} bytes", f"{size} bytes")
    return parts, files


def newest_complete(parent: Path) -> Path | None:
    """The last checkpoint, by name with numbers in numeric order, that verifies in full.

    A newer one that does not is skipped, with the reason logged as a warning. None where there
    is none at all.
    """
    for path in reversed(_checkpoints(parent)):
        if _complete(path):
            return path
    return None


def prune(parent: Path, keep: int) -> list[Path]:
    """Remove all but the last `keep` (at least 1) checkpoints that have a manifest.

    Also removes temporary folders that killed writers left, so call it from the one writer
    while it is not writing. Folders without a manifest are left alone. Returns what was removed.
    """
    if keep < 1:
        raise ValueError(f"keep: got {keep!r}, allowed: a number >= 1")
    finished = [path for path in _checkpoints(parent) if (path / MANIFEST).exists()]
    removed = finished[: len(finished) - keep] if len(finished) > keep else []
    for path in removed:
        _remove(path)
    for path in parent.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(path, ignore_errors=True)
    return removed


def _remove(path: Path) -> None:
    # Under a temporary name first: killed halfway, no damaged checkpoint stays behind.
    temporary = _temporary(path.parent, path.name)
    os.rename(path, temporary)
    shutil.rmtree(temporary, ignore_errors=True)


def _temporary(parent: Path, name: str) -> Path:
    return parent / f"{_TEMPORARY}{name}-{uuid.uuid4().hex}"


def _complete(path: Path) -> bool:
    try:
        verify_folder(path)
    except (CorruptFile, FutureFormat, OSError) as error:
        logger.warning("checkpoint %s is not complete: %s", path, error)
        return False
    return True


def _checkpoints(parent: Path) -> list[Path]:
    if not parent.is_dir():
        return []
    folders = [path for path in parent.iterdir() if path.is_dir() and path.name[0] != "."]
    return sorted(folders, key=lambda path: _natural(path.name))


def _natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    pieces = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(0, int(p), "") if p[0] in "0123456789" else (1, 0, p) for p in pieces], name
