"""Words for numbers."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """The number with its word, `1 seed` or `2 seeds`; `many` where the word has another plural."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
