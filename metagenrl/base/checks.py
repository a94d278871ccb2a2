"""Checks of values, and the error of one line that they end in."""

from __future__ import annotations

import math
from typing import Any


def require(condition: bool, field: str, value: Any, allowed: str) -> None:
    """Raise `ValueError("field: got value, allowed: ...")` unless `condition` holds."""
    if not condition:
        raise ValueError(f"{field}: got {value!r}, allowed: {allowed}")


def require_positive(owner: object, *fields: str) -> None:
    """`require` numbers > 0 in these fields of a dataclass."""
    for field in fields:
        value = getattr(owner, field)
        require(value > 0, field, value, "a number > 0")


def require_at_least(owner: object, bound: int, *fields: str) -> None:
    """`require` numbers >= `bound` in these fields of a dataclass."""
    for field in fields:
        value = getattr(owner, field)
        require(value >= bound, field, value, f"a number >= {bound}")


def require_at_most(owner: object, bound: int, *fields: str) -> None:
    """`require` numbers <= `bound` in these fields of a dataclass."""
    for field in fields:
        value = getattr(owner, field)
        require(value <= bound, field, value, f"a number <= {bound}")


def require_fraction(owner: object, *fields: str) -> None:
    """Raise `ValueError` unless each of these fields of `owner` is in [0, 1]."""
    for field in fields:
        value = getattr(owner, field)
        require(0.0 <= value <= 1.0, field, value, "a number in [0, 1]")


class UsageError(ValueError):
    """The user's input cannot be carried out: one line on stderr, exit code 2, no traceback."""


def integer_at_least(bound: int, **values: int) -> None:
    """Raises `ValueError` for the first of the named values that is below `bound`."""
    for name, value in values.items():
        require(value >= bound, name, value, f"a whole number >= {bound}")


MOST = 1_000_000
"""Agents, seeds and the like: more of them is a slip of the hand that would fill the memory."""


def count(**values: int) -> None:
    """Raises `ValueError` for the first of the named values that is not from 1 to `MOST`."""
    for name, value in values.items():
        integer_at_least(1, **{name: value})
        require(value <= MOST, name, value, f"a whole number from 1 to {MOST}")


def finite_positive(name: str, value: float) -> None:
    """Raises `ValueError` unless it is."""
    require(value > 0 and math.isfinite(value), name, value, "a finite number > 0")


LARGEST_SEED = 2**32 - 1
"""numpy's own limit: some environments and RLlib seed its global generator."""


def seed_range(name: str, first: int, count: int = 1) -> None:
    """Raises `ValueError` unless the `count` seeds from `first` on lie in what generators take."""
    allowed = f"a whole number from 0 to {LARGEST_SEED - count + 1}"
    require(0 <= first <= LARGEST_SEED - count + 1, name, first, allowed)
