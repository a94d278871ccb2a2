"""Returns and their intervals as in a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence


def short(value: float | None) -> str:
    """A return: no decimals from 100 on; `-` where it is unknown."""
    if value is None or math.isnan(value):
        return "-"
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value + 0.0:.3g}"
    return text.replace("-", "\N{MINUS SIGN}")  # a hyphen would end a line


def score(value: float) -> str:
    """A normalised score, which is near 0 and 1: two decimals."""
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")


def with_interval(
    value: float, low: float, high: float, text: Callable[[float], str] = short
) -> str:
    """`228 (175 … 282)`, or the number alone where one agent tells nothing of the spread."""
    if math.isnan(low):
        return text(value)
    return f"{text(value)} ({text(low)} … {text(high)})"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns are aligned in its source as well."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def brief(env: str) -> str:
    """An environment's name without its version, as the paper's tables have it."""
    name, _, version = env.rpartition("-v")
    return name if name and version.isdecimal() else env


def number(value: float | None) -> str:
    """Four significant digits, as short as they get; `-` for None."""
    if value is None:
        return "-"
    magnitude = abs(value)
    if magnitude >= 1e6 or 0 < magnitude < 1e-3:
        return f"{value:.2e}"
    if magnitude >= 1000:
        return f"{value:.0f}"
    return f"{value + 0.0:.4g}"  # no -0
