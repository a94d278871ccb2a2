"""A row as a line of JSON, and back."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

from metagenrl.runs.rows import AgentRow, EvaluationRow, EventRow, ObjectiveRow, Row
from metagenrl.runs.run_records import HeldOutRow, ScoreRow, SnapshotRow, SystemRow

_CLASSES: dict[str, type[Any]] = {
    cls.kind: cls
    for cls in (
        AgentRow, ObjectiveRow, EventRow, EvaluationRow, SnapshotRow, SystemRow, HeldOutRow,
        ScoreRow,
    )
}  # fmt: skip


def _is_required(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


_REQUIRED = {
    kind: tuple(f.name for f in dataclasses.fields(cls) if _is_required(f))
    for kind, cls in _CLASSES.items()
}

_OPTIONAL = {
    kind: tuple(f.name for f in dataclasses.fields(cls) if not _is_required(f))
    for kind, cls in _CLASSES.items()
}


_UNSAID: dict[str, Any] = {"cut": 0, "drawn": None, "values": {}}
"""Fields of few runs, which are left out where they have this value."""


def to_line(row: Row) -> str:
    """The row as one line of JSON, newline included."""
    values = {"kind": row.kind} | {name: finite(value) for name, value in vars(row).items()}
    for name, usual in _UNSAID.items():
        if name in values and values[name] == usual:
            del values[name]
    return json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n"


def from_line(line: str | bytes, kind: str | None = None) -> Row:
    """The row in a line; `kind` is what a line without one is.

    Fields that this version does not know are ignored. Raises `ValueError` for anything that is
    no complete row.
    """
    try:
        values = json.loads(line if isinstance(line, str) else line.decode())
    except RecursionError:
        raise ValueError("row: nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError("row: not a JSON object")
    kind = values.get("kind", kind)
    if kind not in _CLASSES:
        raise ValueError(f"kind: got {kind!r}, allowed: {', '.join(_CLASSES)}")
    try:  # a run has half a million rows: each field is touched once
        known = {name: values[name] for name in _REQUIRED[kind]}
    except KeyError:
        missing = [name for name in _REQUIRED[kind] if name not in values]
        raise ValueError(f"{kind} row: {', '.join(missing)} missing") from None
    known.update({name: values[name] for name in _OPTIONAL[kind] if name in values})
    row: Row = _CLASSES[kind](**{k: tuple(v) if type(v) is list else v for k, v in known.items()})
    return row


def finite(value: Any) -> Any:
    """`value` with None for every float that JSON cannot hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
