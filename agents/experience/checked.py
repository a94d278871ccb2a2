"""What is stored in a replay buffer, as the numbers that it keeps, or a line that refuses it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from metagenrl.base.checks import require
from metagenrl.learner.types import Array

_REAL = "fiub"  # kinds of numpy's types: floating point, integers, booleans
_SOUND = 1e30  # of a sum of squares
_LARGEST = float(np.finfo(np.float32).max)
_ROUNDING = 1e-5  # by which rescaled actions may leave [-1, 1]


def row(field: str, value: ArrayLike, size: int, most: float | None = None) -> Array:
    """`value` as `[size]` in float32, of finite numbers, at most `most` from 0.

    Raises `ValueError`: assignment would spread a single number over the row without a word, and
    one NaN in a buffer makes every later gradient NaN.
    """
    bounds = "finite numbers (float32)" if most is None else f"numbers from {-most:g} to {most:g}"
    allowed = f"shape ({size},), {bounds}"
    found = value if type(value) is np.ndarray else _array(field, value, allowed)
    require(found.dtype.kind in _REAL, field, value, allowed)
    require(found.shape == (size,), field, found.shape, f"shape ({size},)")
    numbers: Array = found
    if found.dtype != np.float32:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
            numbers = found.astype(np.float32)
    # A sum of squares tells most rows to be sound within a microsecond; `dot` would warn where it
    # overflows.
    if not np.vdot(numbers, numbers) <= (_SOUND if most is None else most):
        bound = _LARGEST if most is None else most + _ROUNDING
        require(bool((np.abs(numbers) <= bound).all()), field, found.tolist(), allowed)
    return numbers


def number(field: str, value: Any) -> float:
    """`value` as one number that is finite in float32. Raises `ValueError`."""
    allowed = "one finite number (float32)"
    if not isinstance(value, float):
        found = _array(field, value, allowed)
        require(found.ndim == 0, field, value, allowed)
        value = float(found)
    require(-_LARGEST <= value <= _LARGEST, field, value, allowed)
    return float(value)


def flag(field: str, value: Any) -> bool:
    """`value` as True or False; 0 and 1 are taken. Raises `ValueError`."""
    if value is True or value is False:
        return bool(value)
    found = _array(field, value, "True or False")
    require(found.ndim == 0 and found.item() in (0, 1), field, value, "True or False")
    return bool(found)


def _array(field: str, value: Any, allowed: str) -> NDArray[Any]:
    """`value` as numpy reads it. Raises `ValueError` unless it is of real numbers, none masked.

    Of a tensor the numbers count, whatever its graph, device and precision.
    """
    try:
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu()
            value = value.float() if value.dtype == torch.bfloat16 else value
        found = np.asarray(None if np.ma.is_masked(value) else value)
    except Exception:  # whatever the object's own `__array__` raises
        found = np.asarray(None)
    require(found.dtype.kind in _REAL, field, value, allowed)
    return found
