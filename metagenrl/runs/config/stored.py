"""The configuration that a run's folder keeps, whichever release wrote it.

A field that the file lacks came later: its default, which `build` gives it, is what the program did
before. A field that the program lacks came later still, and the message says which release has it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_origin, get_type_hints

from metagenrl.base.checks import UsageError
from metagenrl.base.release import RELEASE, is_newer
from metagenrl.runs.config.yaml import HEADER, build
from metagenrl.runs.config.yaml_file import load_mapping

Config = TypeVar("Config")


def stored_config(cls: type[Config], path: Path, name: str = "config") -> Config:
    """The `cls` in a run's `config.yaml`. Raises `UsageError`, in the name of the field `name`."""
    values = stored_values(cls, path, name)
    try:
        return build(cls, values)
    except ValueError as error:
        raise UsageError(
            f"{name}: got {str(path)!r} ({error}), allowed: a configuration that this command wrote"
        ) from error


def stored_values(cls: type, path: Path, name: str = "config") -> dict[str, Any]:
    """The mapping in a run's `config.yaml`, to be laid under flags and given to `build`.

    Raises `UsageError` where the file cannot be read, or has a field of a later release.
    """
    values = _renamed(load_mapping(path, name))
    field = next(unknown_fields(cls, values), None)
    release = release_of(path)
    if field is not None and is_newer(release):
        raise UsageError(
            f"{name}: got {str(path)!r} (its field {field!r} is unknown to metagenrl {RELEASE}), "
            f"allowed: fields of this release; metagenrl {release}, which wrote the file, reads it"
        )
    return values


def _renamed(values: dict[str, Any]) -> dict[str, Any]:
    """A mapping of an earlier release: `backend` for its switches `stacked` and `fused`."""
    rest = {name: value for name, value in values.items() if name not in ("stacked", "fused")}
    return rest | {"backend": "reference"} if values.get("stacked") else rest


def unknown_fields(cls: Any, values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted names in `values`, nested mappings included, that `cls` does not have."""
    hints = get_type_hints(cls)
    for name, value in values.items():
        if name not in hints:
            yield f"{prefix}{name}"
        elif isinstance(value, Mapping) and dataclasses.is_dataclass(hints[name]):
            yield from unknown_fields(hints[name], value, f"{prefix}{name}.")
        elif isinstance(value, Mapping) and get_origin(hints[name]) is not Mapping:
            yield f"{prefix}{name}.*"  # no section there


def release_of(path: Path) -> str:
    """The release that wrote a `config.yaml`; "" of a file by hand or of release 0.1, or a pipe."""
    if not path.is_file():
        return ""  # it has been read
    with open(path, encoding="utf-8") as file:
        match = re.match(re.escape(HEADER) + r"(\S+)$", file.readline().rstrip())
    return match[1] if match else ""
