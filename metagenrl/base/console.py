"""Where tables go: the terminal as wide as it is, a pipe wide enough for every column."""

from __future__ import annotations

from rich.console import Console

PIPE_WIDTH = 200
"""Columns where nobody sees the width: a table that is cut there loses numbers."""


def table_console(pipe_width: int = PIPE_WIDTH) -> Console:
    """Standard output for tables, without highlighting."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=pipe_width)
