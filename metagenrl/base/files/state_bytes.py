"""One state as two values of bytes: arrays and the rest, as `state_file` does with two files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metagenrl.base.files.atomic import FileRecord
from metagenrl.base.files.errors import CorruptFile
from metagenrl.base.files.state_codec import join, parse_document, render_document, split
from metagenrl.base.files.tensors import parse_tensors, tensor_chunks

FORMAT = 1


@dataclass(frozen=True)
class PackedState:
    """A state in two parts; the document holds the hash of the tensors and its own."""

    document: bytes
    tensors: bytes


def pack(state: Mapping[str, Any]) -> PackedState:
    """Raises `ValueError` that names the key whose value cannot be written."""
    tree, arrays = split(state)
    tensors = b"".join(tensor_chunks(arrays))
    record = {"sha256": hashlib.sha256(tensors).hexdigest(), "size": len(tensors)}
    body = {"format": FORMAT, "tensors": record, "state": tree}
    return PackedState(render_document(body), tensors)


def unpack(packed: PackedState, where: str) -> dict[str, Any]:
    """Undo `pack`; `where` is for messages. Raises `CorruptFile`, `FutureFormat`."""
    path = Path(where)
    body = parse_document(packed.document, path, FORMAT)
    found = FileRecord(hashlib.sha256(packed.tensors).hexdigest(), len(packed.tensors))
    try:
        FileRecord(body["tensors"]["sha256"], body["tensors"]["size"]).verify(path, found)
        arrays, _ = parse_tensors(packed.tensors, path)
        # Copies: what safetensors gives is read-only memory of the message.
        return join(body["state"], {name: array.copy() for name, array in arrays.items()})
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptFile(path, f"not a state: {error!r}") from None
