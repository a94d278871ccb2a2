"""How a configuration names environments: by id, or with arguments, wrappers and agents.

Whatever the form, a configuration holds texts (see `agents.environment.spec`), so that one string
names an environment in rows, reports and messages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import yaml

from metagenrl.agents.environment.spec import EnvironmentSpec
from metagenrl.base.checks import UsageError, brief, require
from metagenrl.runs.config.yaml_file import read_yaml


class _Marker:
    """Marks the fields that name environments."""


_MARKER = _Marker()

EnvironmentText = Annotated[str, _MARKER]
"""An environment's text; a YAML file may give a mapping with id, kwargs and wrappers instead."""

_POWER_OF_TEN = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")

_FORM = "an id, or a mapping with id, kwargs, wrappers"


def with_texts(cls: type, values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`values` for a `cls` with a text for each environment that is a mapping.

    The `agents` of the mappings become `agents_per_env`. Raises `UsageError` for what is wrong in
    a mapping; what is no mapping is left to `build`.
    """
    found = dict(values)
    hints = get_type_hints(cls, include_extras=True)
    if isinstance(found.get("env_kwargs"), Mapping):
        found["env_kwargs"] = [f"{name}={yaml.safe_dump(value, default_flow_style=True).strip()}"
                               for name, value in found["env_kwargs"].items()]  # fmt: skip
    for name, value in values.items():
        if name not in hints or not _is_marked(hints[name]):
            continue
        label = f"{prefix}{name}"
        if isinstance(value, Mapping) and get_origin(hints[name]) is not tuple:
            found[name] = _text(label, value)
        elif isinstance(value, list | tuple):
            found[name] = [_text(label, v) if isinstance(v, Mapping) else v for v in value]
            counts = [v.get("agents") for v in value if isinstance(v, Mapping) and "agents" in v]
            if counts:
                found["agents_per_env"] = _counts(cls, label, value, counts)
    return found


def _text(label: str, values: Mapping[str, Any]) -> str:
    try:
        plain = {name: _numbers(value) for name, value in values.items() if name != "agents"}
        return EnvironmentSpec.of_mapping(plain).text
    except ValueError as error:
        raise UsageError(f"{label}: {error}") from None


def _counts(cls: type, label: str, every: Sequence[Any], counts: Sequence[Any]) -> list[Any]:
    if "agents_per_env" not in get_type_hints(cls):
        raise UsageError(f"{label}: got the key 'agents', allowed: {_FORM}")
    if len(counts) != len(every):
        raise UsageError(
            f"{label}: got agents {list(counts)!r}, allowed: agents of each or of none"
        )
    return list(counts)


def _is_marked(hint: Any) -> bool:
    if any(isinstance(one, _Marker) for one in getattr(hint, "__metadata__", ())):
        return True
    return any(_is_marked(part) for part in get_args(hint) if get_origin(hint) is not Annotated)


def fold(config: Any, *fields: str) -> None:
    """Put `env_kwargs` and `env_wrappers` of a new configuration into its environments' texts.

    Raises `ValueError`, one line, where a text or an argument cannot be read.
    """
    kwargs: dict[str, Any] = {}
    for name, value in map(_argument, config.env_kwargs):
        require(name not in kwargs, "env_kwargs", f"{name}={value}", f"{name} once")
        kwargs[name] = value
    for field in fields:
        value = getattr(config, field)
        texts = (value,) if isinstance(value, str) else value
        named = isinstance(texts, list | tuple) and all(isinstance(one, str) for one in texts)
        require(named, field, value, "an environment's id, or several where it takes several")
        new = tuple(_folded(field, text, kwargs, config.env_wrappers) for text in texts)
        object.__setattr__(config, field, new[0] if isinstance(value, str) else new)
    object.__setattr__(config, "env_kwargs", ())
    object.__setattr__(config, "env_wrappers", ())


def check_texts(field: str, texts: Sequence[str]) -> tuple[str, ...]:
    """The texts as they are recorded. Raises `ValueError`, one line, where one cannot be read."""
    return tuple(_folded(field, text, {}, ()) for text in texts)


def _folded(field: str, text: str, kwargs: Mapping[str, Any], wrappers: Sequence[str]) -> str:
    if not text:  # another field names the environments
        return text
    try:
        return EnvironmentSpec.of(text).extended(kwargs, wrappers).text
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from None


def _argument(word: str) -> tuple[str, Any]:
    name, equals, text = word.partition("=")
    require(bool(equals) and name.isidentifier(), "env_kwargs", word, "key=value")
    try:
        return name, _numbers(read_yaml(text))
    except yaml.YAMLError:
        return name, text
    except ValueError as error:
        raise ValueError(f"env_kwargs: got {brief(word)} ({error}), allowed: valid YAML") from None


def _numbers(value: Any) -> Any:
    """`value` with numbers for the texts that YAML 1.1 takes 1e-3 for."""
    if isinstance(value, str) and _POWER_OF_TEN.fullmatch(value):
        return float(value)
    if isinstance(value, list):
        return [_numbers(one) for one in value]
    if isinstance(value, dict):
        return {name: _numbers(one) for name, one in value.items()}
    return value


def seating(envs: Sequence[str], agents: int, each: Sequence[int]) -> tuple[int, ...]:
    """The place in `envs` of each agent's environment: in turn, while `each` leaves some.

    Without `each` the environments take turns to the end.
    """
    if not each:
        return tuple(index % len(envs) for index in range(agents))
    left, order = list(each), []
    while any(left):
        for place, count in enumerate(left):
            if count:
                order.append(place)
                left[place] -= 1
    return tuple(order)
