"""State as data: nested dicts to arrays and JSON and back, and JSON documents that check.

A state is a dict with string keys; its leaves are numpy arrays, JSON scalars, None, or lists
of JSON values. Nothing else is written, so nothing that is read can run code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metagenrl.base.files.errors import CorruptFile, FutureFormat

Arrays = dict[str, NDArray[Any]]

TAGS: dict[np.dtype[Any], str] = {
    np.dtype(name): tag
    for name, tag in (
        ("float64", "F64"),
        ("float32", "F32"),
        ("float16", "F16"),
        ("int64", "I64"),
        ("int32", "I32"),
        ("int16", "I16"),
        ("int8", "I8"),
        ("uint64", "U64"),
        ("uint32", "U32"),
        ("uint16", "U16"),
        ("uint8", "U8"),
        ("bool", "BOOL"),
    )
}
"""The array types of a state and their names in a safetensors header."""


def _escape(key: str) -> str:
    # "/" joins keys, "~" escapes, and safetensors keeps "__metadata__" for itself.
    return key.replace("~", "~0").replace("/", "~1").replace("__metadata__", "~2")


def split(state: Mapping[str, Any]) -> tuple[dict[str, Any], Arrays]:
    """Separate a state into a JSON tree (None where an array was) and arrays by joined key.

    Raises `ValueError` that names the key whose value cannot be written: a tuple or numpy scalar
    would come back as another type, and an object array would need pickle.
    """
    arrays: Arrays = {}
    return _split(state, "", arrays), arrays


def _split(state: Mapping[str, Any], prefix: str, arrays: Arrays) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in state.items():
        if type(key) is not str:
            raise ValueError(f"state key {prefix}{key!r}: got {type(key).__name__}, allowed: str")
        name = prefix + _escape(key)
        name.encode()  # UnicodeEncodeError is a ValueError: half a surrogate pair has no file form
        if isinstance(value, np.ndarray):
            if value.dtype not in TAGS:
                allowed = ", ".join(str(dtype) for dtype in TAGS)
                raise ValueError(f"state {name}: got dtype {value.dtype}, allowed: {allowed}")
            arrays[name] = value
            tree[key] = None
        elif isinstance(value, dict):
            tree[key] = _split(value, name + "/", arrays)
        else:
            _require_json(value, name)
            tree[key] = value
    return tree


def _require_json(value: Any, name: str) -> None:
    if type(value) is list:
        for item in value:
            _require_json(item, name)
    elif type(value) is dict:
        for key, item in value.items():
            _require_json(item, name)
            if type(key) is not str:
                raise ValueError(f"state {name}: got key {key!r}, allowed: str")
    elif value is not None and type(value) not in (bool, int, float, str):
        allowed = "dict, numpy array, list, str, int, float, bool, None"
        raise ValueError(f"state {name}: got {type(value).__name__}, allowed: {allowed}")


def join(tree: Mapping[str, Any], arrays: Arrays) -> dict[str, Any]:
    """Undo `split`. Raises `KeyError` where `arrays` holds one that the tree has no place for."""
    left = dict(arrays)
    state = _join(tree, "", left)
    if left:
        raise KeyError(next(iter(left)))
    return state


def _join(tree: Mapping[str, Any], prefix: str, left: Arrays) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for key, value in tree.items():
        name = prefix + _escape(key)
        if isinstance(value, dict):
            state[key] = _join(value, name + "/", left)
        else:
            state[key] = left.pop(name) if value is None and name in left else value
    return state


def canonical(body: Any) -> str:
    """The one JSON text of a value: order of keys kept, floats exact, integers of any size."""
    return json.dumps(body, separators=(",", ":"))


def render_document(body: Mapping[str, Any]) -> bytes:
    """A JSON file that carries the sha256 of its own body; `parse_document` reads it."""
    text = canonical(body)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f'{{"sha256":"{digest}",\n"body":{text}}}\n'.encode()


def parse_document(data: bytes, path: Path, supported: int) -> dict[str, Any]:
    """The body of a JSON document.

    Raises `CorruptFile` unless `data` is to the byte what `render_document` writes, and
    `FutureFormat` where its field `format` is above `supported`.
    """
    try:
        document = json.loads(data)
        body, recorded = document["body"], document["sha256"]
        version = body["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CorruptFile(path, "not a JSON state document") from None
    if type(version) is int and version > supported:
        raise FutureFormat(path, version, supported)
    if render_document(body) != data:
        found = hashlib.sha256(canonical(body).encode()).hexdigest()
        raise CorruptFile(path, "wrong hash", str(recorded), found)
    return dict(body)
