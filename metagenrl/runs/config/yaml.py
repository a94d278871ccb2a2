"""Configurations from plain mappings and YAML, and back.

Every value that a user writes, in a file or behind a flag, passes through `build`: unknown names
are refused with the nearest valid one, wrong types with the field's name.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from metagenrl.base.checks import UsageError, brief
from metagenrl.base.paths import user_path
from metagenrl.base.release import RELEASE
from metagenrl.objective_server.store.address import ALLOWED, StoreAddress
from metagenrl.runs.config.environments import with_texts
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml_file import load_mapping

Config = TypeVar("Config")

_NAME_BYTES, _PATH_BYTES = 255, 4000
"""Of a file's name and of a whole path, files within a run's folder included."""
_LARGEST = 2**63 - 1

HEADER = "# metagenrl "
"""How the first line of a configuration that the program wrote begins; its release follows."""


def to_dict(config: Any) -> dict[str, Any]:
    """All fields, nested dataclasses as dicts, paths as strings and tuples as lists."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def to_yaml(config: Any) -> str:
    """The complete configuration; `from_yaml` of it gives an equal one.

    The first line is a comment that names this release: see `stored`.
    """
    return f"{HEADER}{RELEASE}\n" + yaml.safe_dump(
        to_dict(config), sort_keys=False, allow_unicode=True
    )


def from_yaml(path: Path) -> TrainConfig:
    """The meta-training configuration in a file; absent fields are the paper's.

    Raises `UsageError` as `load_mapping` and `build` do.
    """
    return build(TrainConfig, load_mapping(path))


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`, mapping by mapping."""
    merged = dict(base)
    for name, value in over.items():
        below = merged.get(name)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            value = merge(below, value)
        merged[name] = value
    return merged


def build(
    cls: type[Config], values: Mapping[str, Any], prefix: str = "", known: Sequence[str] = ()
) -> Config:
    """A `cls` from `values`, nested mappings for nested dataclasses; the rest are its defaults.

    Raises `UsageError` for unknown and missing fields and wrong types, and `ValueError`, as the
    dataclass does, for values that it refuses; a name that two sections share is told with its
    section. `prefix` and `known` (all names of the outermost class) serve these messages.
    """
    values = with_texts(cls, values, prefix)
    hints: dict[str, Any] = get_type_hints(cls)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    known = known or leaf_names(cls)
    for name in values:
        if name not in hints:
            raise UsageError(_unknown_field(f"{prefix}{name}", prefix, known))
    arguments: dict[str, Any] = {}
    for field in fields:
        label, hint = f"{prefix}{field.name}", hints[field.name]
        if field.name not in values:
            if field.default is field.default_factory is dataclasses.MISSING:
                raise UsageError(f"{label}: missing, allowed: {describe(hint)}")
            continue
        value = values[field.name]
        if not dataclasses.is_dataclass(hint):
            arguments[field.name] = coerce(label, value, hint)
        elif isinstance(value, Mapping):
            section: Any = hint
            arguments[field.name] = build(section, value, f"{label}.", known)
        else:
            _wrong(label, value, "a mapping of fields to values")
    try:
        return cls(**arguments)
    except ValueError as error:
        name = str(error).partition(":")[0]
        shared = sum(leaf.rpartition(".")[2] == name for leaf in known) > 1
        if prefix and name in hints and shared:
            raise UsageError(f"{prefix}{error}") from error
        raise


def coerce(name: str, value: Any, hint: Any) -> Any:
    """`value`, from YAML or the text of a flag, as a `hint`. Raises `UsageError` naming `name`."""
    origin = get_origin(hint)
    if origin is Annotated:
        return coerce(name, value, get_args(hint)[0])
    if origin is Literal:
        return value if value in get_args(hint) else _wrong(name, value, describe(hint))
    if origin in (Union, types.UnionType) and types.NoneType not in get_args(hint):
        kind, words = get_args(hint)  # always X | Literal[...]
        if isinstance(value, str) and not value.lstrip("-").isdecimal():
            return value if value in get_args(words) else _wrong(name, value, describe(hint))
        return coerce(name, value, kind)
    if origin in (Union, types.UnionType):  # always X | None
        inner = next(option for option in get_args(hint) if option is not types.NoneType)
        # A flag spells it out; where text is allowed, that is a text (a folder called "none").
        spelled = isinstance(value, str) and value.lower() == "none" and inner is not Path
        is_none = value is None or spelled
        return None if is_none else coerce(name, value, inner)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            _wrong(name, value, describe(hint))
        return tuple(coerce(name, item, get_args(hint)[0]) for item in value)
    if origin is Mapping:  # free names: options of another command
        return dict(value) if isinstance(value, Mapping) else _wrong(name, value, describe(hint))
    if hint in (int, float):
        return _number(name, value, hint)
    if isinstance(value, str | Path):
        _check_text(name, str(value), hint is Path)
    if hint is Path and isinstance(value, str | Path) and value:
        return user_path(name, value)
    if hint is StoreAddress and isinstance(value, str | StoreAddress):
        return value if isinstance(value, StoreAddress) else _store_address(name, value)
    if hint in (bool, str) and isinstance(value, hint):
        return value
    return _wrong(name, value, describe(hint))


def describe(hint: Any) -> str:
    """The values that a field of this type accepts, in words."""
    if get_origin(hint) is Literal:
        return ", ".join(str(choice) or "nothing" for choice in get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join("none" if o is types.NoneType else describe(o) for o in get_args(hint))
    if get_origin(hint) is tuple:
        of = {int: "whole numbers", float: "numbers"}.get(get_args(hint)[0], "names")
        return f"a list of {of}"
    if get_origin(hint) is Mapping:
        return "a mapping of names to values"
    words = {int: "a whole number", float: "a finite number", bool: "true or false", Path: "a path"}
    words[StoreAddress] = ALLOWED
    return words.get(hint, "text")


def leaf_names(cls: type, prefix: str = "") -> list[str]:
    """Dotted names of all fields, those of nested dataclasses included."""
    hints = get_type_hints(cls)
    names: list[str] = []
    for field in dataclasses.fields(cls):
        names.append(f"{prefix}{field.name}")
        if dataclasses.is_dataclass(hints[field.name]):
            names += leaf_names(hints[field.name], f"{prefix}{field.name}.")
    return names


def unknown(name: str, kind: str, known: Iterable[str]) -> str:
    """The line for a name that does not exist, with the nearest one that does."""
    known = list(known)
    bare = {candidate.lstrip("-").rpartition(".")[2]: candidate for candidate in reversed(known)}
    bare_name = name.lstrip("-").rpartition(".")[2]
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.7) or [
        bare[match] for match in difflib.get_close_matches(bare_name, bare, n=1, cutoff=0.6)
    ]
    return f"{name}: unknown {kind}" + (f", did you mean {nearest[0]}?" if nearest else "")


def _unknown_field(name: str, prefix: str, known: Sequence[str]) -> str:
    """The line for a field that does not exist; of a section, it is written as a file has it."""
    line = unknown(name, "field", known)
    said, meant, nearest = line.partition(", did you mean ")
    section, dot, leaf = nearest.rstrip("?").rpartition(".")
    written = f"{said}{meant}`{section}: {{{leaf}: …}}`?"
    return written if dot and section != prefix[:-1] else line


def _store_address(name: str, text: str) -> StoreAddress:
    try:
        return StoreAddress.parse(text)
    except ValueError as error:  # its message hides the password
        raise UsageError(str(error).replace("store:", f"{name}:", 1)) from None


def _number(name: str, value: Any, kind: type[int] | type[float]) -> int | float:
    allowed = int if kind is int else int | float
    if isinstance(value, str):  # a flag, or YAML 1.1's reading of 1e-3
        try:
            value = kind(value)
        except ValueError:
            _wrong(name, value, describe(kind))
    if isinstance(value, bool) or not isinstance(value, allowed):
        _wrong(name, value, describe(kind))
    if isinstance(value, int) and abs(value) > _LARGEST:
        _wrong(name, value, f"{describe(kind)} of at most 64 bits")
    if not math.isfinite(value):
        _wrong(name, value, describe(kind))
    return kind(value)


def _check_text(name: str, text: str, is_path: bool) -> None:
    """Refuse what no file can hold or be called."""
    try:
        parts = text.encode().split(b"/")
    except UnicodeEncodeError:
        _wrong(name, text, "text in UTF-8")
    if "\0" in text:
        _wrong(name, text, "text without NUL")
    longest = max(map(len, parts))
    if is_path and (longest > _NAME_BYTES or len(text.encode()) > _PATH_BYTES):
        allowed = f"names of at most {_NAME_BYTES} bytes, and {_PATH_BYTES} in all"
        _wrong(name, f"{text[:20]}… ({longest} bytes)", allowed)


def _wrong(name: str, value: Any, allowed: str) -> Any:
    raise UsageError(f"{name}: got {brief(value, 400)}, allowed: {allowed}")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, Path | StoreAddress):  # an address's text has no password
        return str(value)
    return list(value) if isinstance(value, tuple) else value
