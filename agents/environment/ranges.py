"""Arguments of an environment that are ranges: each life of an agent draws its own value."""

from __future__ import annotations

import math
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
    numbers = int if kind == "integers" else int | float
    if not isinstance(values, list | tuple) or not values:
        right = False
    elif kind == "choice":
        right = True
    else:
        right = len(values) == 2 and all(
            isinstance(v, numbers) and not isinstance(v, bool) and math.isfinite(v) for v in values
        )
        right = right and values[0] <= values[1]
    if not right:
        raise ValueError(
            f"got {name}={value!r}, allowed: {{uniform: [low, high]}} of finite numbers, "
            "{integers: [low, high]} of whole ones, {choice: [a, b, …]}"
        )


def draw(kind: str, values: list[Any], rng: np.random.Generator) -> Any:
    """A value from a range."""
    if kind == "choice":
        return values[int(rng.integers(len(values)))]
    low, high = values
    if kind == "integers":
        return int(rng.integers(low, high, endpoint=True))
    return float(rng.uniform(low, high))
