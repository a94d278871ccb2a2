"""One state as one file, `<name>.safetensors`: its arrays, and the rest as JSON in an array.

Its last array is the sha256 of all bytes before it, so that a file of which a part was replaced is
refused without another file that tells. It is not numpy's `.npz`: that checks each array by a
CRC-32 alone, which makes writing a large replay buffer dearer by a quarter, and snapshots of the
objective and kept policies are safetensors already.

Files of earlier releases, a pair each (see `state_pair`), are read as well.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from metagenrl.base.files.atomic import (
    SEAL_BYTES,
    FileRecord,
    require_seal,
    sealed_record_of,
    write_atomic,
    write_over,
)
from metagenrl.base.files.errors import CorruptFile, FutureFormat
from metagenrl.base.files.state_codec import Arrays, canonical, join, split
from metagenrl.base.files.state_pair import document_of, read_pair
from metagenrl.base.files.tensors import SEAL, parse_tensors, read_tensors, tensor_chunks

FORMAT = 2
DOCUMENT = "~state"
"""The array, of bytes, that holds everything but the arrays; no key of a state has this name."""

Records = dict[str, FileRecord]


def state_path(folder: Path, name: str) -> Path:
    """The file of a state below `folder`."""
    return folder / f"{name}.safetensors"


def write_state(
    folder: Path,
    name: str,
    state: Mapping[str, Any],
    *,
    durable: bool = False,
    in_place: bool = False,
) -> Records:
    """Write a state below `folder` and return the file's hash and size, by its name.

    Values that cannot be written raise `ValueError` with the key named; a full disk raises
    `OSError` and leaves no part of a file. `in_place` goes over the file that is there, as
    `write_over`: only where another state is to fall back to.
    """
    path, chunks = state_path(folder, name), _chunks(state)
    write = write_over if in_place else functools.partial(write_atomic, durable=durable)
    record = write(path, chunks, sealed=True)
    document_of(path).unlink(missing_ok=True)  # of a pair, whose other half has just been replaced
    return {path.name: record}


def read_state(folder: Path, name: str) -> dict[str, Any]:
    """Read what `write_state` wrote: the same keys in the same order, dtypes, shapes and bits.

    Raises `CorruptFile` naming the file (missing, truncated, changed, not safetensors) with
    expected and found hash, and `FutureFormat` for a later version of the format.
    """
    return read_verified(folder, name)[0]


def read_verified(folder: Path, name: str) -> tuple[dict[str, Any], Records]:
    """`read_state` and the hashes it computed, so that a manifest needs no second pass."""
    path = state_path(folder, name)
    if document_of(path).exists():
        return read_pair(path)
    record = sealed_record_of(path)
    return _state(read_tensors(path), path), {path.name: record}


def pack(state: Mapping[str, Any]) -> bytes:
    """The bytes of a state's file. Raises `ValueError` as `write_state` does."""
    content = b"".join(_chunks(state))
    return content + hashlib.sha256(content).digest()


def unpack(data: bytes, where: str) -> dict[str, Any]:
    """Undo `pack`; `where` is for messages. Raises `CorruptFile`, `FutureFormat`."""
    path = Path(where)
    content, seal = data[:-SEAL_BYTES], data[-SEAL_BYTES:]
    require_seal(seal, hashlib.sha256(content).digest(), path)
    arrays, _ = parse_tensors(data, path)
    # Copies: what safetensors gives is read-only memory of the message.
    return _state({name: array.copy() for name, array in arrays.items()}, path)


def _chunks(state: Mapping[str, Any]) -> Iterator[bytes | memoryview]:
    """A state's file without its seal; raises for a bad value at once."""
    tree, arrays = split(state)
    text = canonical({"format": FORMAT, "state": tree}).encode()
    return tensor_chunks({**arrays, DOCUMENT: np.frombuffer(text, np.uint8)}, sealed=True)


def _state(arrays: Arrays, path: Path) -> dict[str, Any]:
    try:
        del arrays[SEAL]
        document = json.loads(arrays.pop(DOCUMENT).tobytes())
        if document["format"] > FORMAT:
            raise FutureFormat(path, document["format"], FORMAT)
        return join(document["state"], arrays)
    except FutureFormat:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise CorruptFile(path, f"not a state: {error!r}") from None
