"""Arguments of an environment that are ranges: each life of an agent draws its own value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

RANGES = ("uniform", "integers", "choice")
"""Names of ranges: `uniform: [low, high)`, `integers: [low, high]` and `choice: [a, b, …]`."""


def range_of(value: Any) -> tuple[str, list[Any]] | None:
    """The kind and the values of a range, None for any other value."""
    if isinstance(value, Mapping) and len(value) == 1:
        ((kind, values),) = value.items()
        if kind in RANGES:
            return kind, values
    return None


def check_range(name: str, value: Any) -> None:
    """Raise `ValueError` for a range that nothing can be drawn from."""
    found = range_of(value)
    if found is None:
        return
    kind, values = found
    if not isinstance(values, list | tuple) or not values:
        right = False
    elif kind == "choice":
        right = not any(range_of(v) for v in values)
    else:
        right = len(values) == 2 and all(
            isinstance(v, int if kind == "integers" else int | float) and not isinstance(v, bool)
            for v in values
        )
        right = right and values[0] <= values[1] and _can_be_drawn(kind, values)
    if not right:
        raise ValueError(
            f"got {name}={value!r}, allowed: {{uniform: [low, high]}} of finite numbers, "
            "{integers: [low, high]} of whole ones of 64 bits, {choice: [a, b, …]} of values"
        )


def _can_be_drawn(kind: str, values: list[Any]) -> bool:
    """Whether numpy draws from these numbers: it refuses infinite ones and too large ones."""
    try:
        draw(kind, values, np.random.default_rng(0))
    except (ValueError, OverflowError):
        return False
    return True


def draw(kind: str, values: list[Any], rng: np.random.Generator) -> Any:
    """A value from a range."""
    if kind == "choice":
        return values[int(rng.integers(len(values)))]
    low, high = values
    if kind == "integers":
        return int(rng.integers(low, high, endpoint=True))
    return float(rng.uniform(low, high))


def covers(value: Any, other: Any) -> bool:
    """Whether everything that an argument is or draws, `other`, is what `value` is or may draw."""
    if value == other:
        return True
    found, inner = range_of(value), range_of(other)
    if found is None:
        return False
    kind, values = found
    if inner is None or inner[0] == "choice":
        others = [other] if inner is None else inner[1]
        return all(_may_draw(kind, values, one) for one in others)
    # The ends of an interval stand for all of it, but not where values are chosen from.
    same = kind != "choice" and (kind == inner[0] or kind == "uniform")
    return same and all(_may_draw(kind, values, one) for one in inner[1])


def _may_draw(kind: str, values: list[Any], one: Any) -> bool:
    if kind == "choice":
        return one in values
    number = isinstance(one, int | float) and not isinstance(one, bool)
    if not number or (kind == "integers" and one != int(one)):
        return False
    return bool(values[0] <= one <= values[1])
