"""The terminal as it is found: one that is not UTF-8, full, closed, or whose reader has gone."""

from __future__ import annotations

import codecs
import contextlib
import os
import shutil
import sys
import unicodedata
from collections.abc import Iterator
from typing import TextIO

from metagenrl.commands.shell import streams

CLOSED_PIPE_EXIT = 141
"""What a shell reports of a process that a closed pipe ended (128 + SIGPIPE)."""
NARROWEST = 20
"""Columns of the narrowest help."""
_PLAIN = {
    "…": "...", "→": "->", "\N{MINUS SIGN}": "-", "\N{EN DASH}": "-",
    "\N{EM DASH}": "-", "\N{MULTIPLICATION SIGN}": "x", "\N{GREEK SMALL LETTER ALPHA}": "alpha",
}  # fmt: skip


def prepare(program: bool) -> None:
    """Let both streams write any text, in plain letters where their encoding lacks one.

    `program`: the process is the program's own, whose streams may be exchanged for such as last.
    """
    if program:
        streams.open_missing()
        streams.make_lasting()
    codecs.register_error("metagenrl.plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None and not _is_utf8(stream):
            reconfigure(errors="metagenrl.plain")


def flush() -> None:
    """Write out what is buffered.

    Raises `BrokenPipeError`, or `EndedBySignal` of a stream that lasts, where nobody reads it any
    more.
    """
    if sys.stdout is not None:
        sys.stdout.flush()


def lost() -> bool:
    """Whether text of the standard output could not be written, which has been said."""
    flush()
    return bool(streams.failure())


def leave_quietly() -> int:
    """Let what is still written go nowhere, at the interpreter's end as well; the exit code."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
            continue
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return CLOSED_PIPE_EXIT


@contextlib.contextmanager
def wide_enough() -> Iterator[None]:
    """A terminal of at least `NARROWEST` columns, for a library that never ends in one of three."""
    before = os.environ.get("COLUMNS")
    try:
        if shutil.get_terminal_size().columns < NARROWEST:
            os.environ["COLUMNS"] = str(NARROWEST)
        yield
    finally:
        os.environ.pop("COLUMNS", None)
        if before is not None:
            os.environ["COLUMNS"] = before


def _is_utf8(stream: TextIO) -> bool:
    return (stream.encoding or "").lower().replace("-", "").replace("_", "") == "utf8"


def _plain(error: UnicodeError) -> tuple[str, int]:
    """An error handler of `codecs`: the letters that cannot be encoded in plain ones."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(map(_in_ascii, text)), error.end


def _in_ascii(letter: str) -> str:
    if letter in _PLAIN:
        return _PLAIN[letter]
    if "\u2500" <= letter <= "\u257f":  # lines of tables
        return "-" if letter in "─━╌╍┄┅┈┉╴╶╸╺" else "|" if letter in "│┃╎╏┆┇┊┋╵╷╹╻" else "+"
    base = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return base or "?"
