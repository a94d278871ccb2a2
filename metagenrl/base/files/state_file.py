"""One state as a pair of files: `<name>.safetensors` (arrays) and `<name>.json` (the rest)."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metagenrl.base.files.atomic import (
    FileRecord,
    read_bytes,
    record_of,
    write_atomic,
    write_over,
)
from metagenrl.base.files.errors import CorruptFile
from metagenrl.base.files.state_codec import join, parse_document, render_document, split
from metagenrl.base.files.tensors import read_tensors, tensor_chunks

FORMAT = 1

Records = dict[str, FileRecord]


def tensors_name(name: str) -> str:
    """File name of a state's arrays."""
    return f"{name}.safetensors"


def document_name(name: str) -> str:
    """File name of a state's scalars."""
    return f"{name}.json"


def write_state(
    folder: Path,
    name: str,
    state: Mapping[str, Any],
    *,
    durable: bool = False,
    in_place: bool = False,
) -> Records:
    """Write a state below `folder` and return the hash and size of both files, by file name.

    The JSON comes last and holds the hash of the arrays, so a pair of which only one file was
    replaced is refused by `read_state`. Values that cannot be written raise `ValueError` with
    the key named; a full disk raises `OSError` and leaves no part of a file. `in_place` goes
    over files that are there, as `write_over`: only where another state is to fall back to.
    """
    tree, arrays = split(state)
    write = write_over if in_place else functools.partial(write_atomic, durable=durable)
    tensors = write(folder / tensors_name(name), tensor_chunks(arrays))
    body = {
        "format": FORMAT,
        "tensors": {"sha256": tensors.sha256, "size": tensors.size, "names": sorted(arrays)},
        "state": tree,
    }
    document = write(folder / document_name(name), [render_document(body)])
    return {tensors_name(name): tensors, document_name(name): document}


def read_state(folder: Path, name: str) -> dict[str, Any]:
    """Read what `write_state` wrote: the same keys in the same order, dtypes, shapes and bits.

    Raises `CorruptFile` naming the file (missing, truncated, changed, swapped, not safetensors)
    with expected and found hash, and `FutureFormat` for a later version of the format.
    """
    return read_verified(folder, name)[0]


def read_verified(folder: Path, name: str) -> tuple[dict[str, Any], Records]:
    """`read_state` and the hashes it computed, so that a manifest needs no second pass."""
    path, tensors_path = folder / document_name(name), folder / tensors_name(name)
    data = read_bytes(path)
    body = parse_document(data, path, FORMAT)
    document = FileRecord(hashlib.sha256(data).hexdigest(), len(data))
    found = record_of(tensors_path)
    try:
        FileRecord(body["tensors"]["sha256"], body["tensors"]["size"]).verify(tensors_path, found)
        arrays, names = read_tensors(tensors_path), body["tensors"]["names"]
        if sorted(arrays) != names:
            raise CorruptFile(tensors_path, "other arrays", str(names), str(sorted(arrays)))
        state = join(body["state"], arrays)
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptFile(path, f"not a state document: {error!r}") from None
    return state, {tensors_name(name): found, document_name(name): document}
