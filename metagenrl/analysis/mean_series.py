"""A curve from a stream of any length in bounded memory."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BINS = 400
"""The most points that a curve keeps: more than a picture's panel can show."""


class MeanSeries:
    """Means of (x, value) pairs, x ascending, over at most `BINS` bins of equally many pairs.

    Up to that many pairs the series is exact. After that two neighbouring bins become one.
    """

    def __init__(self, bins: int = BINS) -> None:
        self._limit, self._pairs = bins, 1  # pairs in a bin that is full
        self._ends: list[float] = []  # x of each bin's last pair
        self._sums: list[float] = []
        self._counts: list[int] = []

    def add(self, x: float, value: float | None) -> None:
        """Take in a pair; None and NaN, which stand for an unknown value, are left out."""
        if value is None or math.isnan(value):
            return
        if len(self._ends) == self._limit and self._counts[-1] == self._pairs:
            self._halve()
        if self._counts and self._counts[-1] < self._pairs:
            self._ends[-1] = x
            self._sums[-1] += value
            self._counts[-1] += 1
        else:
            self._ends.append(x)
            self._sums.append(value)
            self._counts.append(1)

    def cut(self, x: float) -> None:
        """Forget the bins that end at `x` or later: a restarted agent repeats its steps."""
        while self._ends and self._ends[-1] >= x:
            for values in (self._ends, self._sums, self._counts):
                values.pop()

    def arrays(self) -> tuple[Array, Array]:
        """(x at the end of each bin, mean of its values): `[S], [S]`, S <= `BINS`."""
        counts = np.array(self._counts, np.float64)
        return np.array(self._ends, np.float64), np.array(self._sums, np.float64) / counts

    def _halve(self) -> None:
        """Two bins become one; an odd last one stays open."""
        self._pairs *= 2
        self._ends = self._ends[1::2] + (self._ends[-1:] if len(self._ends) % 2 else [])
        self._sums = [sum(self._sums[i : i + 2]) for i in range(0, len(self._sums), 2)]
        self._counts = [sum(self._counts[i : i + 2]) for i in range(0, len(self._counts), 2)]
