"""From the words of a command line to the values of a configuration.

`tyro` lays out `--help` from the dataclasses and their docstrings. The values themselves go the
way of YAML files (`config.yaml`), so that flags and files are checked by the same code and every
mistake is one line. A nested field answers to its bare name (`--eta`, `--gamma`) and to its
section's (`--objective.eta`, `--agent.gamma`); a bare name that two sections share belongs to
the one whose prefix `--help` omits.
"""

from __future__ import annotations

import dataclasses
import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import tyro

from metagenrl.base.checks import UsageError
from metagenrl.base.paths import user_path
from metagenrl.commands.shell.terminal import wide_enough
from metagenrl.runs.config.presets import PresetName
from metagenrl.runs.config.yaml import build, coerce, describe, merge, unknown

_log = logging.getLogger(__name__)

_UNNAMED = tyro.conf.arg(name="")


@dataclass(frozen=True)
class Source:
    """Where the defaults come from."""

    preset: PresetName | None = None
    """Defaults to start from; without it the named run's (--resume, --objective), else small."""
    config: Path | None = None
    """YAML file whose fields override those defaults; flags override both."""


@dataclass(frozen=True)
class Option:
    """A field that the command line can set."""

    path: tuple[str, ...]  # its place in the nested mapping
    hint: Any
    value: bool | None = None  # what the flag stands for; None: the words after it
    positional: bool = False


def parse(cls: type, argv: Sequence[str]) -> dict[str, Any]:
    """The nested mapping of the fields of `cls` that `argv` sets.

    Raises `UsageError` for an unknown flag (naming the nearest one), a missing or superfluous
    value and a value of the wrong type. A flag that stands twice has its last value.
    """
    options = accepted_flags(cls)
    values: dict[str, Any] = {}
    lists: dict[tuple[str, ...], tuple[str, ...]] = {}
    for flag, words in _grouped(argv, options):
        option = options[flag]
        if get_origin(option.hint) is tuple:
            _note_lost(flag, lists.get(option.path, ()), words)
            lists[option.path] = words
        value = option.value if option.value is not None else _value(flag, words, option.hint)
        values = merge(values, _nested(option.path, value))
    return values


def with_home(values: dict[str, Any]) -> dict[str, Any]:
    """`values` with the home filled in where `run` is a folder below `~`, and no run's id."""
    run = values.get("run")
    return values if run is None else values | {"run": str(user_path("run", run))}


def parse_with_source(cls: type, argv: Sequence[str]) -> tuple[Source, dict[str, Any]]:
    """As `parse`, with --preset and --config among the flags."""
    values = parse(with_source(cls), argv)
    return build(Source, values.get("source", {})), values.get("settings", {})


def accepted_flags(cls: type) -> dict[str, Option]:
    """Every spelling that sets a field of `cls`; positional fields stand under their bare name."""
    owned: dict[str, Option] = {}
    bare: dict[str, Option] = {}
    for path, name, hint, flat in _leaves(cls):
        plain = _unwrapped(hint)
        if tyro.conf.Positional in _markers(hint):
            owned[path[-1]] = Option(path, plain, positional=True)
            continue
        owned |= _spelled(name, path, plain)
        (owned if flat else bare).update(_spelled(path[-1], path, plain))
    return bare | owned


def show_help(cls: type, command: str, defaults: Mapping[str, Any], sourced: bool) -> None:
    """Print what tyro makes of `cls`; fields without a default are shown as required.

    `sourced`: with --preset and --config among the flags.
    """
    # An instance that skips validation, since `MISSING` stands for the fields that are required.
    settings: Any = object.__new__(cls)
    for field in dataclasses.fields(cls):
        value = defaults.get(field.name, field.default)
        if value is dataclasses.MISSING and callable(field.default_factory):
            value = field.default_factory()
        value = tyro.MISSING if value is dataclasses.MISSING else value
        object.__setattr__(settings, field.name, value)
    arguments: Any = with_source(cls) if sourced else cls
    with wide_enough():
        tyro.cli(
            arguments,
            prog=f"metagenrl {command}",
            description=about(cls),
            args=["--help"],
            default=arguments(settings, Source()) if sourced else settings,
        )


def about(cls: type) -> str:
    """A configuration's docstring; none under `python -OO`, where its signature stands for it."""
    text = (cls.__doc__ or "").strip()
    return "" if text.startswith(f"{cls.__name__}(") else text


def with_source(cls: type) -> type:
    """A dataclass of `cls` and `Source` side by side, neither adding a prefix to its flags."""
    return dataclasses.make_dataclass(
        "Arguments",
        [("settings", Annotated[cls, _UNNAMED]), ("source", Annotated[Source, _UNNAMED])],
    )


def _leaves(
    cls: Any, path: tuple[str, ...] = (), prefix: str = "", flat: bool = True
) -> list[tuple[tuple[str, ...], str, Any, bool]]:
    """(path, dotted name, annotated type, whether --help omits the prefix) of every field."""
    leaves = []
    hints = get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        inner, here = _unwrapped(hint), (*path, field.name)
        if not dataclasses.is_dataclass(inner):
            leaves.append((here, f"{prefix}{field.name}", hint, flat))
        elif _UNNAMED in _markers(hint):
            leaves += _leaves(inner, here, prefix, flat)
        else:
            omitted = tyro.conf.OmitArgPrefixes in _markers(hint)
            leaves += _leaves(inner, here, f"{prefix}{field.name}.", omitted)
    return leaves


def _markers(hint: Any) -> tuple[Any, ...]:
    return tuple(getattr(hint, "__metadata__", ()))


def _unwrapped(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _spelled(name: str, path: tuple[str, ...], hint: Any) -> dict[str, Option]:
    """The flags for one name; a boolean has two, as `--stagger` and `--no-stagger`."""
    dashed = name.replace("_", "-")
    if hint is not bool:
        return {f"--{dashed}": Option(path, hint)}
    section, dot, leaf = dashed.rpartition(".")
    return {
        f"--{dashed}": Option(path, hint, True),
        f"--{section}{dot}no-{leaf}": Option(path, hint, False),
    }


def _grouped(
    argv: Sequence[str], options: Mapping[str, Option]
) -> list[tuple[str, tuple[str, ...]]]:
    """Each flag, as spelled in `options`, with the words that belong to it.

    A positional list, which can only be the last positional field, takes all words left over.
    """
    positional = [name for name, option in options.items() if option.positional]
    groups: list[tuple[str, tuple[str, ...]]] = []
    listed: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        flag, equals, inline = word.partition("=")
        flag = flag.replace("_", "-")
        if not word.startswith("-") and positional:
            if get_origin(options[positional[0]].hint) is tuple:
                listed.append(word)
            else:
                groups.append((positional.pop(0), (word,)))
        elif flag not in options or not flag.startswith("--"):
            if not word.startswith("-"):
                raise UsageError(f"{word}: unexpected argument{_hint(groups, options)}")
            raise UsageError(unknown(flag, "option", [f for f in options if f.startswith("--")]))
        elif equals and options[flag].value is not None:
            raise UsageError(f"{flag}: got {inline!r}, allowed: nothing, it is a switch")
        elif equals:
            groups.append((flag, (inline,)))
        else:
            taken = _arity(words, options[flag])
            groups.append((flag, tuple(words[:taken])))
            del words[:taken]
    return [*groups, (positional[0], tuple(listed))] if listed else groups


def _hint(groups: Sequence[tuple[str, Any]], options: Mapping[str, Option]) -> str:
    """After which flag the word stands, what that takes, and where a folder to resume belongs."""
    flag = groups[-1][0] if groups else ""
    if not flag.startswith("--"):
        return ""
    if options[flag].value is None:
        return f" after {flag}, which takes one value ({describe(options[flag].hint)})"
    folder = "; the folder is --run-dir" if flag == "--resume" else ""
    return f" after {flag}, which is a switch{folder}"


def _arity(words: Sequence[str], option: Option) -> int:
    """How many of the words that follow are the flag's: lists take all up to the next flag."""
    if option.value is not None:
        return 0
    available = next((i for i, w in enumerate(words) if w.startswith("--")), len(words))
    return available if get_origin(option.hint) is tuple else min(available, 1)


def _note_lost(flag: str, before: Sequence[str], words: Sequence[str]) -> None:
    """Say which words of a list go where its flag stands again."""
    lost = [word for word in before if word not in words]
    if lost:
        _log.warning(
            "%s stands twice, %s of the first one is lost: write all words behind one %s",
            flag, shlex.join(lost), flag,
        )  # fmt: skip


def _value(flag: str, words: Sequence[str], hint: Any) -> Any:
    if not words:
        raise UsageError(f"{flag}: missing value, allowed: {describe(hint)}")
    return coerce(flag, words if get_origin(hint) is tuple else words[0], hint)


def _nested(path: Sequence[str], value: Any) -> dict[str, Any]:
    nested = value
    for name in reversed(path):
        nested = {name: nested}
    return dict(nested)
