"""What an environment is made of, and the text that names it everywhere.

`Pendulum-v1` is an environment by itself. `Pendulum-v1(g=9.0)+my_env:Clip` has an argument and a
wrapper; an argument such as `{"uniform": [6, 12]}` is a range, from which each life of an agent
draws its own value. The text is what a configuration records and what rows and reports show;
`EnvironmentSpec.of` reads it back. Nothing here imports Gymnasium.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from metagenrl.agents.environment.ranges import check_range, draw, range_of
from metagenrl.base.checks import brief

RANGES_STREAM = 1_000_033
"""Spawn key of the draws: no agent of a population has this index."""

MOST_CHOICES = 20
"""Values of a choice that are tried: each makes the environment once."""

_FIELDS = ("id", "kwargs", "wrappers")
_ALLOWED = "an environment's id, then its arguments and wrappers: ID(key=JSON, …)+module:Wrapper"
_KEY = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*")
_WRAPPER = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


@dataclass(frozen=True)
class EnvironmentSpec:
    """An environment's id, the arguments that it is made with, and what it is wrapped in."""

    id: str
    kwargs: tuple[tuple[str, str], ...] = ()  # (name, value as JSON), by name
    wrappers: tuple[str, ...] = ()  # "module:Wrapper", the innermost first

    @staticmethod
    def of(text: str) -> EnvironmentSpec:
        """The environment that a text names. Raises `ValueError` of one line."""
        env_id, bracket, rest = text.partition("(")
        if not bracket:
            env_id, plus, rest = text.partition("+")
            return EnvironmentSpec(env_id.strip(), (), _wrappers(text, plus + rest))
        kwargs, rest = _arguments(text, rest)
        return EnvironmentSpec(env_id.strip(), _sorted(text, kwargs), _wrappers(text, rest))

    @staticmethod
    def of_mapping(values: Mapping[str, Any]) -> EnvironmentSpec:
        """The environment of `{id: …, kwargs: {…}, wrappers: […]}`. Raises `ValueError`."""
        for name in values:
            if name not in _FIELDS:
                near = difflib.get_close_matches(str(name), _FIELDS, n=1)
                hint = f", did you mean {near[0]}?" if near else ""
                raise ValueError(f"got the key {name!r}, allowed: {', '.join(_FIELDS)}{hint}")
        env_id, kwargs = values.get("id"), values.get("kwargs") or {}
        if not isinstance(env_id, str):
            raise ValueError(f"got the id {env_id!r}, allowed: an environment's id")
        if not isinstance(kwargs, Mapping):
            raise ValueError(f"got the kwargs {kwargs!r}, allowed: a mapping of names to values")
        return EnvironmentSpec.of(env_id).extended(kwargs, values.get("wrappers") or ())

    def extended(self, kwargs: Mapping[str, Any], wrappers: Any = ()) -> EnvironmentSpec:
        """With these arguments as well, and these wrappers around it. Raises `ValueError`."""
        if not isinstance(wrappers, list | tuple):
            raise ValueError(f"got the wrappers {wrappers!r}, allowed: a list of module:Wrapper")
        for wrapper in wrappers:
            if not isinstance(wrapper, str) or not _WRAPPER.fullmatch(wrapper):
                raise ValueError(f"got the wrapper {wrapper!r}, allowed: module:Wrapper")
        every = self.arguments | {str(name): value for name, value in kwargs.items()}
        return replace(self, kwargs=_sorted(self.text, every), wrappers=(*self.wrappers, *wrappers))

    @property
    def text(self) -> str:
        """Its name: what `of` reads."""
        arguments = ", ".join(f"{name}={value}" for name, value in self.kwargs)
        wrappers = "".join(f"+{wrapper}" for wrapper in self.wrappers)
        return f"{self.id}({arguments}){wrappers}" if arguments else f"{self.id}{wrappers}"

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments by name, ranges as they were written."""
        return {name: json.loads(value) for name, value in self.kwargs}

    @property
    def ranges(self) -> dict[str, tuple[str, list[Any]]]:
        """The arguments that are ranges: (kind, values)."""
        found = {name: range_of(value) for name, value in self.arguments.items()}
        return {name: one for name, one in found.items() if one is not None}

    def drawn(self, rng: np.random.Generator) -> EnvironmentSpec:
        """With a value from each range in its place."""
        values = {name: draw(*one, rng) for name, one in self.ranges.items()}
        return self.extended(values)

    def corners(self) -> list[EnvironmentSpec]:
        """With the first and with the last value of every range; itself where it has none.

        Of a choice with the values between as well, one in each, of which `MOST_CHOICES` spread
        evenly are enough.
        """
        ranges = self.ranges
        firsts, lasts = ({n: values[i] for n, (_, values) in ranges.items()} for i in (0, -1))
        found = [self.extended(firsts), self.extended(lasts)]
        for name, (kind, values) in ranges.items():
            if kind == "choice":
                between = values[1 : -1 : max(1, len(values) // MOST_CHOICES)]
                found += [self.extended(firsts | {name: value}) for value in between]
        return list(dict.fromkeys(found))


def drawn_environment(text: str, seed: int, agent: int, life: int) -> str:
    """The text of what an agent meets in a life: `text` itself where it has no ranges.

    A function of nothing but its arguments, so that a resumed run draws what it would have drawn.
    """
    if "{" not in text:  # there is no range, and nothing to parse in most runs
        return text
    stream = np.random.SeedSequence(seed, spawn_key=(RANGES_STREAM, agent, life))
    return EnvironmentSpec.of(text).drawn(np.random.default_rng(stream)).text


def folder_name(text: str) -> str:
    """A name for a folder: the text itself where it can be one, else its id and a hash."""
    plain = text.replace("/", "-")
    if re.fullmatch(r"[\w.:-]+", plain):
        return plain
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{EnvironmentSpec.of(text).id.replace('/', '-')}-{digest}"


def _arguments(text: str, rest: str) -> tuple[dict[str, Any], str]:
    """The arguments up to the bracket that closes, and what follows it."""
    kwargs: dict[str, Any] = {}
    rest = rest.lstrip()
    while not rest.startswith(")"):
        match = _KEY.match(rest)
        try:
            if match is None or match[1] in kwargs:
                raise ValueError
            kwargs[match[1]], end = json.JSONDecoder().raw_decode(rest, match.end())
        except (ValueError, RecursionError):
            raise ValueError(f"got {brief(text, 400)}, allowed: {_ALLOWED}") from None
        rest = rest[end:].lstrip()
        if rest.startswith(",") and rest[1:].strip() not in ("", ")"):
            rest = rest[1:].lstrip()
        elif not rest.startswith(")"):
            raise ValueError(f"got {text!r}, allowed: {_ALLOWED}")
    return kwargs, rest[1:]


def _wrappers(text: str, rest: str) -> tuple[str, ...]:
    names = [name.strip() for name in rest.split("+")]
    if names[0] or not all(_WRAPPER.fullmatch(name) for name in names[1:]):
        raise ValueError(f"got {text!r}, allowed: {_ALLOWED}")
    return tuple(names[1:])


def _sorted(text: str, kwargs: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The arguments as JSON. Raises `ValueError` for what JSON or a range cannot be."""
    for name, value in kwargs.items():
        if not name.isidentifier():
            raise ValueError(f"got the argument {name!r}, allowed: a name as in Python")
        check_range(name, value)
    try:
        return tuple(
            (name, json.dumps(kwargs[name], sort_keys=True, allow_nan=False))
            for name in sorted(kwargs)
        )
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"got {dict(kwargs)!r} for {text} ({error}), allowed: finite numbers, texts, lists and "
            "mappings of them"
        ) from None
