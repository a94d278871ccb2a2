"""A YAML file as a mapping: one that says a thing twice is refused, as is what is no YAML."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, TypeVar

import yaml

from metagenrl.base.checks import UsageError

_Number = TypeVar("_Number", int, float)
_OTHER_BASE = re.compile(r"[-+]?(0[0-9_]|[0-9_.]+:)")
"""Of YAML 1.1, which the loader reads: 010 is 8 there, and 1:30 is 90."""


class _Twice(yaml.YAMLError):
    """A key that stands twice in one mapping."""


class _NotDecimal(yaml.YAMLError):
    """A number whose digits say another one."""


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which by itself takes the last of two equal keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """The mapping of a node. Raises `_Twice`."""
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue  # `<<: *other`, whose keys the mapping's own ones replace
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue  # the loader refuses it
            if key in seen:
                raise _Twice(f"{key} stands twice, again in line {key_node.start_mark.line + 1}")
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """A whole number. Raises `_NotDecimal`."""
        return _decimal(node, super().construct_yaml_int(node))

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        """A number. Raises `_NotDecimal`."""
        return _decimal(node, super().construct_yaml_float(node))


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)


def _decimal(node: yaml.ScalarNode, value: _Number) -> _Number:
    if _OTHER_BASE.match(node.value):
        where = f"line {node.start_mark.line + 1}"
        raise _NotDecimal(f"{node.value} is {value} in YAML, {where}: write a decimal number")
    return value


def load_mapping(path: Path, name: str = "config") -> dict[str, Any]:
    """A YAML file's mapping. Raises `UsageError`, in the name of the field `name`, otherwise."""
    try:
        loaded = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise UsageError(f"{name}: got {str(path)!r} ({reason}), allowed: a YAML file") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a 13th month is a ValueError
        reason = " ".join(str(error).split())
        raise UsageError(f"{name}: got {str(path)!r} ({reason}), allowed: valid YAML") from error
    if not isinstance(loaded, dict):
        raise UsageError(f"{name}: got {str(path)!r}, allowed: a YAML mapping of fields to values")
    return loaded
