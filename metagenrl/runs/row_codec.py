"""A row as a line of JSON, and back."""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from collections.abc import Mapping
from types import NoneType, UnionType
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
KINDS = tuple(_CLASSES)
"""What a row's `kind` may be."""


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

_IN_JSON: dict[type, tuple[type, ...]] = {
    float: (float, int), int: (int,), str: (str,), NoneType: (NoneType,), dict: (dict,),
    tuple: (list,),
}  # fmt: skip
"""The types that a field's value has in JSON, by the field's own."""
_WORDS: dict[type, str] = {
    float: "a number", int: "a whole number", str: "text", NoneType: "null", dict: "a mapping",
    tuple: "a list",
}  # fmt: skip


def _types(hint: Any) -> tuple[type, ...]:
    """The types that a field may have, without those of its items."""
    parts = typing.get_args(hint) if isinstance(hint, UnionType) else (hint,)
    return tuple(typing.get_origin(part) or part for part in parts)


def _item_types(hint: Any) -> frozenset[type]:
    """What JSON has in a field that holds several values; a number that is not finite is null."""
    item = typing.get_args(hint)[-1 if typing.get_origin(hint) is dict else 0]
    return frozenset(_IN_JSON[item]) | ({NoneType} if item is float else set())


_FIELDS = {
    kind: {
        name: hint
        for name, hint in typing.get_type_hints(cls).items()
        if name in (*_REQUIRED[kind], *_OPTIONAL[kind])
    }
    for kind, cls in _CLASSES.items()
}
_ITEMS = {
    kind: {n: _item_types(hint) for n, hint in fields.items() if _types(hint)[0] in (dict, tuple)}
    for kind, fields in _FIELDS.items()
}
_NUMBERS = _IN_JSON[float]
_MOST = 1e100
"""No row has a number as large: they come from float32."""
_right: set[tuple[Any, ...]] = set()  # kind, names and types of rows that were looked at


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
    no complete row, or has a value of another type than its field.
    """
    line = line if isinstance(line, str) else line.decode()
    try:
        values = json.loads(line)
    except RecursionError:
        raise ValueError("row: nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError("row: not a JSON object")
    kind = values.get("kind", kind)
    if not isinstance(kind, str) or kind not in _CLASSES:
        raise ValueError(f"kind: got {_brief(kind)}, allowed: {', '.join(KINDS)}")
    try:  # a run has half a million rows: each field is touched once
        known = {name: values[name] for name in _REQUIRED[kind]}
    except KeyError:
        missing = [name for name in _REQUIRED[kind] if name not in values]
        raise ValueError(f"{kind} row: {', '.join(missing)} missing") from None
    known.update({name: values[name] for name in _OPTIONAL[kind] if name in values})
    numbers = _checked(kind, known)
    steps = known.get("steps", 0)
    if steps < 0:
        _require(False, kind, "steps", steps, "0 or more")
    far = bool(numbers) and not -_MOST < min(numbers) <= max(numbers) < _MOST
    if far or "NaN" in line or "\\u" in line:
        for name, value in known.items():
            _require(_is_plain(value), kind, name, value, "finite numbers and printable text")
    row: Row = _CLASSES[kind](**{k: tuple(v) if type(v) is list else v for k, v in known.items()})
    return row


def _checked(kind: str, known: Mapping[str, Any]) -> list[float]:
    """Every number of the row. Raises `ValueError` for a value of another type than its field's."""
    signature = (kind, *known, *map(type, known.values()))
    if signature not in _right:
        for name, value in known.items():
            allowed = _types(_FIELDS[kind][name])
            right = any(type(value) in _IN_JSON[each] for each in allowed)
            _require(right, kind, name, value, " or ".join(_WORDS[each] for each in allowed))
        _right.add(signature)
    numbers = [value for value in known.values() if type(value) in _NUMBERS]
    for name, types in _ITEMS[kind].items():
        value = known.get(name, ())
        items = value.values() if isinstance(value, dict) else value
        if items and not types.issuperset(map(type, items)):
            _require(False, kind, name, value, f"{'text' if str in types else 'numbers'} only")
        if str not in types:
            numbers += [item for item in items if item is not None]
    return numbers


def _require(condition: bool, kind: str, name: str, value: Any, allowed: str) -> None:
    if not condition:
        raise ValueError(f"{kind} row: {name}: got {_brief(value)}, allowed: {allowed}")


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain, value)) and all(map(_is_plain, value.values()))
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, str):
        return not any("\ud800" <= letter <= "\udfff" for letter in value)
    return value is None or abs(value) < _MOST  # false for NaN


def _brief(value: Any) -> str:
    text = repr(value)
    return ascii(text if len(text) <= 60 else f"{text[:57]}...")[1:-1]


def finite(value: Any) -> Any:
    """`value` with None for every float that JSON cannot hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
