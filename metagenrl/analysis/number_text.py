"""Returns and their intervals as in a table."""

from __future__ import annotations

import math
from collections.abc import Callable


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
