"""States as earlier releases wrote them: arrays, and a JSON document that has their hash.

They are only read: as two files beside each other, or as two values in Redis.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from metagenrl.base.files.atomic import FileRecord, read_bytes, record_of
from metagenrl.base.files.errors import CorruptFile
from metagenrl.base.files.state_codec import Arrays, join, parse_document
from metagenrl.base.files.tensors import parse_tensors, read_tensors

FORMAT = 1


def document_of(tensors: Path) -> Path:
    """The file with the rest of the state whose arrays are in `tensors`."""
    return tensors.with_suffix(".json")


def read_pair(tensors: Path) -> tuple[dict[str, Any], dict[str, FileRecord]]:
    """The state, and the hash and size of both files by name.

    Raises `CorruptFile` naming the file that is missing, changed or another state's.
    """
    path = document_of(tensors)
    data = read_bytes(path)
    body = parse_document(data, path, FORMAT)
    found = record_of(tensors)
    _verify(body, found, tensors)
    state = _joined(body, read_tensors(tensors), path)
    document = FileRecord(hashlib.sha256(data).hexdigest(), len(data))
    return state, {tensors.name: found, path.name: document}


def unpack_pair(document: bytes, tensors: bytes, where: str) -> dict[str, Any]:
    """The state of two values; `where` is for messages. Raises `CorruptFile`, `FutureFormat`."""
    path = Path(where)
    body = parse_document(document, path, FORMAT)
    _verify(body, FileRecord(hashlib.sha256(tensors).hexdigest(), len(tensors)), path)
    arrays, _ = parse_tensors(tensors, path)
    # Copies: what safetensors gives is read-only memory of the message.
    return _joined(body, {name: array.copy() for name, array in arrays.items()}, path)


def _verify(body: dict[str, Any], found: FileRecord, path: Path) -> None:
    try:
        expected = FileRecord(body["tensors"]["sha256"], body["tensors"]["size"])
    except (KeyError, TypeError) as error:
        raise CorruptFile(path, f"not a state: {error!r}") from None
    expected.verify(path, found)


def _joined(body: dict[str, Any], arrays: Arrays, path: Path) -> dict[str, Any]:
    try:
        return join(body["state"], arrays)
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptFile(path, f"not a state: {error!r}") from None
