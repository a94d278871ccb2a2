"""Checks of values, and the error of one line that they end in."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any


def require(condition: bool, field: str, value: Any, allowed: str) -> None:
    """Raise `ValueError("field: got value, allowed: ...")`, one line, unless `condition` holds."""
    if not condition:
        raise ValueError(f"{field}: got {brief(value, 400)}, allowed: {allowed}")


def brief(value: Any, most: int = 80) -> str:
    """`value` as a message shows it: in one line of at most `most` characters."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # its own `__repr__`
        text = f"a {type(value).__name__}"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def require_positive(owner: object, *fields: str) -> None:
    """`require` numbers > 0 in these fields of a dataclass."""
    for field in fields:
        value = getattr(owner, field)
        require(_is(operator.gt, value, 0), field, value, "a number > 0")


def require_at_least(owner: object, bound: int, *fields: str) -> None:
    """`require` numbers >= `bound` in these fields of a dataclass."""
    for field in fields:
        value = getattr(owner, field)
        require(_is(operator.ge, value, bound), field, value, f"a number >= {bound}")


def require_at_most(owner: object, bound: int, *fields: str) -> None:
    """`require` numbers <= `bound` in these fields of a dataclass."""
    for field in fields:
        value = getattr(owner, field)
        require(_is(operator.le, value, bound), field, value, f"a number <= {bound}")


def require_fraction(owner: object, *fields: str) -> None:
    """Raise `ValueError` unless each of these fields of `owner` is in [0, 1]."""
    for field in fields:
        value = getattr(owner, field)
        within = _is(operator.ge, value, 0.0) and _is(operator.le, value, 1.0)
        require(within, field, value, "a number in [0, 1]")


def _is(relation: Callable[[Any, Any], Any], value: Any, bound: float) -> bool:
    """Whether `value` is in that relation to `bound`; what is no number is in none."""
    try:
        return bool(relation(value, bound))
    except (TypeError, ValueError, RuntimeError):  # text, an array, a tensor
        return False


class UsageError(ValueError):
    """The user's input cannot be carried out: one line on stderr, exit code 2, no traceback."""


def mapping(field: str, value: Any) -> Mapping[str, Any]:
    """`value`, which has fields. Raises `UsageError` for anything else."""
    if not isinstance(value, Mapping):
        raise UsageError(f"{field}: got {brief(value, 400)}, allowed: a mapping of fields")
    return value


def integer_at_least(bound: int, **values: int) -> None:
    """Raises `ValueError` for the first of the named values that is below `bound`."""
    for name, value in values.items():
        whole_number(name, value, bound)


def whole_number(field: str, value: Any, at_least: int = 0, allowed: str | None = None) -> int:
    """`value` as a Python integer; numpy's and torch's are taken, True and False are not.

    Raises `ValueError` for anything else, and below `at_least`.
    """
    try:
        found = at_least - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        found = at_least - 1
    require(found >= at_least, field, value, allowed or f"a whole number >= {at_least}")
    return found


MOST = 1_000_000
"""Agents, seeds and the like: more of them is a slip of the hand that would fill the memory."""


def count(**values: int) -> None:
    """Raises `ValueError` for the first of the named values that is not from 1 to `MOST`."""
    for name, value in values.items():
        integer_at_least(1, **{name: value})
        require(value <= MOST, name, value, f"a whole number from 1 to {MOST}")


def finite_positive(name: str, value: float) -> None:
    """Raises `ValueError` unless it is."""
    fits = _is(operator.gt, value, 0) and _is(operator.lt, value, math.inf)
    require(fits, name, value, "a finite number > 0")


def finite_at_least_0(name: str, value: Any) -> None:
    """Raises `ValueError` unless `value` is one finite number >= 0."""
    one = getattr(value, "ndim", 0) == 0 and not isinstance(value, bool)
    fits = one and _is(operator.ge, value, 0) and _is(operator.lt, value, math.inf)
    require(fits, name, value, "a finite number >= 0")


LARGEST_SEED = 2**32 - 1
"""numpy's own limit: some environments and RLlib seed its global generator."""


def seed_range(name: str, first: int, count: int = 1) -> None:
    """Raises `ValueError` unless the `count` seeds from `first` on lie in what generators take."""
    allowed = f"a whole number from 0 to {LARGEST_SEED - count + 1}"
    require(whole_number(name, first, 0, allowed) <= LARGEST_SEED - count + 1, name, first, allowed)
