"""YAML as values: a text that says a thing twice is refused, as is what is no YAML."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, TypeVar

import yaml

from metagenrl.base.checks import UsageError

_Number = TypeVar("_Number", int, float)
_OTHER_BASE = re.compile(r"[-+]?(0[0-9_]|[0-9_.]+:)")
"""Of YAML 1.1, which the loader reads: 010 is 8 there, and 1:30 is 90."""


_MOST_VALUES = 100_000
_LONGEST = 10_000_000  # characters of a file


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which by itself takes the last of two equal keys."""

    def get_single_node(self) -> yaml.Node | None:
        """The text's only value, unread. Raises `ValueError` where aliases give it no end."""
        node = super().get_single_node()
        if node is not None and _values(node, {}) > _MOST_VALUES:
            raise ValueError(f"more than {_MOST_VALUES:,} values, aliases (*name) written out")
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """The mapping of a node. Raises `ValueError` where a key stands twice."""
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue  # `<<: *other`, whose keys the mapping's own ones replace
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue  # the loader refuses it
            if key in seen:
                raise ValueError(
                    f"{key} stands twice, again in line {key_node.start_mark.line + 1}"
                )
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """A whole number. Raises `ValueError` where its digits say another one."""
        return _decimal(node, super().construct_yaml_int(node))

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        """A number. Raises `ValueError` as for a whole one."""
        return _decimal(node, super().construct_yaml_float(node))


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)


def _decimal(node: yaml.ScalarNode, value: _Number) -> _Number:
    if _OTHER_BASE.match(node.value):
        where = f"line {node.start_mark.line + 1}"
        raise ValueError(f"{node.value} is {value} in YAML, {where}: write a decimal number")
    return value


def _values(node: yaml.Node, known: dict[int, float]) -> float:
    """The values that a node stands for, itself included; endless where it is within itself."""
    if id(node) not in known:
        known[id(node)] = math.inf
        pairs = isinstance(node, yaml.MappingNode)
        parts = [part for pair in node.value for part in pair] if pairs else node.value
        inner = [] if isinstance(node, yaml.ScalarNode) else parts
        known[id(node)] = 1 + sum(_values(part, known) for part in inner)
    return known[id(node)]


def read_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises `YAMLError` for what is no YAML, and `ValueError` of one line for what says a thing
    twice, says another number than it shows, or has no end.
    """
    try:
        return yaml.load(text, _Loader)
    except RecursionError:
        raise ValueError("too many brackets within each other") from None


def load_mapping(path: Path, name: str = "config") -> dict[str, Any]:
    """A YAML file's mapping. Raises `UsageError`, in the name of the field `name`, otherwise."""
    try:
        with path.open(encoding="utf-8") as file:  # a device may have no end
            text = file.read(_LONGEST + 1)
        if len(text) > _LONGEST:
            raise ValueError(f"more than {_LONGEST:,} characters")
        loaded = read_yaml(text)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise UsageError(f"{name}: got {str(path)!r} ({reason}), allowed: a YAML file") from error
    except (yaml.YAMLError, ValueError) as error:  # a 13th month is a ValueError
        reason = " ".join(str(error).split())
        raise UsageError(f"{name}: got {str(path)!r} ({reason}), allowed: valid YAML") from error
    if not isinstance(loaded, dict):
        raise UsageError(f"{name}: got {str(path)!r}, allowed: a YAML mapping of fields to values")
    _check_keys(name, loaded, str(path))
    return loaded


def _check_keys(name: str, value: Any, where: str) -> None:
    """Refuse a key that is no text, at any depth: YAML reads 1, yes and null as something else."""
    for key, inner in value.items() if isinstance(value, dict) else ():
        if not isinstance(key, str):
            raise UsageError(f"{name}: got key {key!r} in {where}, allowed: text, in quotes")
        _check_keys(name, inner, key)
    for inner in value if isinstance(value, list) else ():
        _check_keys(name, inner, where)
