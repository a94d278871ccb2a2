"""`metagenrl completion SHELL`: the script with which a shell completes commands and options."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional

from metagenrl.commands.parsing import parse, with_source
from metagenrl.runs.config.yaml import build

PROGRAM = "metagenrl"
_AS_FILE = "typeset -A opt_args\n"


@dataclass(frozen=True)
class CompletionConfig:
    """Print what lets a shell complete this command: `source <(metagenrl completion bash)`."""

    shell: Positional[Literal["bash", "zsh", "fish"]]
    """Shell that the script is for."""


def completion_config(argv: Sequence[str]) -> CompletionConfig:
    """The configuration of `metagenrl completion`. Raises `UsageError`."""
    return build(CompletionConfig, parse(CompletionConfig, argv))


def completion_script(shell: str, commands: Mapping[str, type], sourced: Iterable[str]) -> str:
    """tyro's script for `shell`.

    `commands`: the name of each command, of two words perhaps, and its configuration. `sourced`:
    those that take --preset and --config, too.
    """
    arguments: Any = _choice(
        {n: with_source(cls) if n in sourced else cls for n, cls in commands.items()}
    )
    written = io.StringIO()
    words = ["--tyro-write-completion", shell, "-"]
    with contextlib.redirect_stdout(written), contextlib.suppress(SystemExit):
        tyro.cli(arguments, prog=PROGRAM, args=words)
    lines = written.getvalue().splitlines(keepends=True)
    if shell == "bash":
        lines = [*map(_with_files, lines)]
    if shell == "zsh":  # tyro ends the script as a file of zsh's `fpath` does; this one is sourced
        lines = [*lines[: lines.index(_AS_FILE)], f"compdef _tyro_{PROGRAM} {PROGRAM}\n"]
    return "".join(map(_one_line, lines))


def _with_files(line: str) -> str:
    """The line of bash's script, so that bash itself completes files where tyro knows nothing."""
    if line.strip() == "# Parse completions and build COMPREPLY array.":
        return '  [ -n "$completions" ] || { COMPREPLY=(); return 0; }\n' + line
    return line.replace("complete -F ", "complete -o bashdefault -o default -F ")


def _one_line(line: str) -> str:
    """The line; in the list of options, each one's help on one line, since bash reads lines."""
    return line.replace("\\n", " ") if line.startswith("COMPLETION_SPEC = ") else line


def _choice(commands: Mapping[str, type]) -> Any:
    """The type of which tyro makes one sub-command for each name, nested where names have two."""
    groups: dict[str, dict[str, type]] = {}
    for name, cls in commands.items():
        first, _, second = name.partition(" ")
        groups.setdefault(first, {})[second] = cls
    return reduce(or_, [_named(first, _one(inner)) for first, inner in groups.items()])


def _one(inner: Mapping[str, type]) -> type:
    """A command's configuration, or a dataclass whose only field chooses among commands."""
    if list(inner) == [""]:
        return inner[""]
    unprefixed = tyro.conf.OmitSubcommandPrefixes
    return dataclasses.make_dataclass("Group", [("command", unprefixed[_choice(inner)])])


def _named(name: str, cls: type) -> Any:
    return Annotated[cls, tyro.conf.subcommand(name=name, prefix_name=False)]
