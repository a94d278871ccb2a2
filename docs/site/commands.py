"""The reference of all commands, made of their configurations and these classes' docstrings."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, groupby, zip_longest
from typing import Any

import tyro

from metagenrl.commands.parsing import Source, _leaves, _markers, _unwrapped
from metagenrl.commands.table import COMMANDS, META_LEARNERS, SOURCED, Command, help_defaults
from metagenrl.runs.config.presets import PRESETS
from metagenrl.runs.config.yaml import describe

NONE = object()
_ESCAPED = str.maketrans({"<": "&lt;", "[": "\\[", "*": "\\*", "_": "\\_", "|": "\\|"})


def reference() -> str:
    """Markdown: a section for each command, an entry for each option."""
    commands = {**COMMANDS, **{f"baseline --algo {n}": c for n, c in META_LEARNERS.items()}}
    return "\n\n".join(_section(name, command) for name, command in commands.items())


def _section(name: str, command: Command) -> str:
    cls = command.config_class
    leaves = _leaves(cls)
    placed = [leaf for leaf in leaves if tyro.conf.Positional in _markers(leaf[2])]
    words = "".join(f" {path[-1].upper()}{_many(hint)}" for path, _, hint, _ in placed)
    parts = [
        f"## metagenrl {name}",
        _text(cls.__doc__ or ""),
        f"```\nmetagenrl {name}{words} …\n```",
    ]
    defaults = {preset: help_defaults(command, ["--preset", preset]) for preset in PRESETS}
    for group, members in groupby(leaves, lambda leaf: leaf[0][:-1]):
        owner = _class_of(cls, group)
        if group:
            parts += [f"### `{'.'.join(group)}` of {name}", _text(owner.__doc__ or "")]
        parts += [_entry(owner, leaf, defaults) for leaf in members]
    if name in SOURCED:
        parts.append("### Where the defaults come from")
        parts += [_entry(Source, leaf, {}) for leaf in _leaves(Source)]
    return "\n\n".join(part for part in parts if part)


def _entry(
    owner: type, leaf: tuple[tuple[str, ...], str, Any, bool], defaults: Mapping[str, Any]
) -> str:
    path, name, hint, _ = leaf
    positional = tyro.conf.Positional in _markers(hint)
    plain = _unwrapped(hint)
    flag = path[-1].upper() if positional else f"--{name.replace('_', '-')}"
    spelled = f"`{flag}`"
    if plain is bool:
        section, dot, last = name.replace("_", "-").rpartition(".")
        spelled += f", `--{section}{dot}no-{last}`"
    allowed = "" if plain is bool else f" {_text(describe(plain))}"
    head = f"{spelled}{allowed}{_default(owner, path, defaults)}"
    return f"{head}\n:   {_text(docstrings(owner).get(path[-1], ''))}"


def _default(owner: type, path: tuple[str, ...], defaults: Mapping[str, Any]) -> str:
    field = next(f for f in dataclasses.fields(owner) if f.name == path[-1])
    own = field.default
    if own is dataclasses.MISSING and callable(field.default_factory):
        own = field.default_factory()
    values = {preset: _value(mapping, path, own) for preset, mapping in defaults.items()}
    if not values or len({repr(value) for value in values.values()}) == 1:
        value = next(iter(values.values()), own)
        return "" if value is dataclasses.MISSING else f" · {_shown(value)}"
    return " · " + ", ".join(f"{preset}: {_shown(value)}" for preset, value in values.items())


def _value(values: Any, path: Sequence[str], otherwise: Any) -> Any:
    """The default at `path`, where a preset sets it."""
    for name in path:
        found = (
            values.get(name, NONE) if isinstance(values, Mapping) else getattr(values, name, NONE)
        )
        if found is NONE:
            return otherwise
        values = found
    return values


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(f"`{each}`" for each in value) or "none"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "on", False: "off"}[value]
    return f"`{value}`"


def _class_of(cls: Any, path: Sequence[str]) -> Any:
    for name in path:
        hints = inspect.get_annotations(cls, eval_str=True)
        for base in cls.__mro__[1:]:
            hints = inspect.get_annotations(base, eval_str=True) | hints
        cls = _unwrapped(hints[name])
    return cls


def docstrings(cls: type) -> dict[str, str]:
    """Field -> the string below it, inherited fields included."""
    found: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        if dataclasses.is_dataclass(each):
            found |= dict(_below(each))
    return found


def _below(cls: type) -> Iterator[tuple[str, str]]:
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)
    for field, after in zip(body.body, body.body[1:], strict=False):
        is_field = isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if is_field and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            yield field.target.id, str(after.value.value)


def _many(hint: Any) -> str:
    return " …" if getattr(_unwrapped(hint), "__origin__", None) is tuple else ""


def _text(docstring: str) -> str:
    """One paragraph that Markdown shows as it is written."""
    parts = " ".join(docstring.split()).split("`")  # every other one is code
    plain = [part.translate(_ESCAPED) for part in parts[::2]]
    code = [f"`{part}`" for part in parts[1::2]]
    return "".join(chain.from_iterable(zip_longest(plain, code, fillvalue="")))
