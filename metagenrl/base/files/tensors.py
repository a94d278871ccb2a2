"""Arrays in the safetensors format.

The library reads; writing is done here, because its writer takes a second copy of everything
(a replay buffer may be the largest thing in the process) and reports a full disk as its own
error instead of `OSError`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from metagenrl.base.files.atomic import SEAL_BYTES
from metagenrl.base.files.errors import CorruptFile
from metagenrl.base.files.state_codec import TAGS, Arrays

SEAL = "~sha256"
"""An array's name that no key of a state has (see `state_codec`)."""


def tensor_chunks(
    arrays: Arrays, metadata: Mapping[str, str] | None = None, sealed: bool = False
) -> Iterator[bytes | memoryview]:
    """The bytes of a safetensors file in order, one chunk an array, without a copy of it.

    The same arrays give the same bytes, whatever order they come in. `sealed`: the header also
    has an array `SEAL`, the file's last bytes, which its writer adds (see `atomic.write_atomic`).
    """
    # Wide types first, so that every array starts at a multiple of its item size.
    names = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name in names:
        array = arrays[name]
        end = offset + array.nbytes
        header[name] = {
            "dtype": TAGS[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    if sealed:
        ends = [offset, offset + SEAL_BYTES]
        header[SEAL] = {"dtype": "U8", "shape": [SEAL_BYTES], "data_offsets": ends}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in names:
        # asarray, not ascontiguousarray: that one gives a 0-d array a dimension.
        flat = np.asarray(arrays[name], order="C").reshape(-1)
        yield flat.view(np.uint8).data


def read_tensors(path: Path) -> Arrays:
    """The arrays of a file whose hash was checked. Raises `CorruptFile` for another format."""
    try:
        with safetensors.safe_open(path, "numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise CorruptFile(path, "missing file") from None
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
        raise CorruptFile(path, f"not a safetensors file: {error}") from None


def parse_tensors(data: bytes, path: Path) -> tuple[Arrays, dict[str, str]]:
    """Arrays and metadata of a safetensors file's bytes; `path` is for the error message."""
    try:
        arrays = safetensors.numpy.load(data)
        size = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + size]).get("__metadata__", {})
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
        raise CorruptFile(path, f"not a safetensors file: {error}") from None
    return arrays, metadata
