"""Aggregates of normalised scores, after Agarwal et al. (NeurIPS 2021).

Those of a bootstrap have weights `[R, N]`, whose sum over N is 1, beside scores `[N]` or `[R, N]`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def interquartile_mean(scores: Array, axis: int = -1) -> Array:
    """The mean of the middle half along `axis`; of fewer than four scores, the mean.

    As rliable's `aggregate_iqm`, without scipy, whose import takes a process 1 s and 75 MB.
    """
    count = scores.shape[axis]
    ordered = np.moveaxis(np.sort(scores, axis=axis), axis, -1)  # [..., N]
    return np.asarray(ordered[..., count // 4 : count - count // 4].mean(axis=-1))


def weighted_mean(scores: Array, weights: Array) -> Array:
    """`[R]`."""
    return np.asarray((scores * weights).sum(axis=-1))


def weighted_interquartile_mean(scores: Array, weights: Array) -> Array:
    """The mean of the middle half of the weights, `[R]`: a score at its border counts in part.

    With equal weights and a multiple of four scores it is that of rliable.
    """
    scores = np.broadcast_to(scores, weights.shape)
    order = np.argsort(scores, axis=-1)
    ordered = np.take_along_axis(weights, order, axis=-1)
    until = np.cumsum(ordered, axis=-1)
    inside = np.minimum(until, 0.75) - np.maximum(until - ordered, 0.25)
    inside = np.maximum(inside, 0.0)
    found = (np.take_along_axis(scores, order, axis=-1) * inside).sum(axis=-1)
    return np.asarray(found / inside.sum(axis=-1))


def weighted_optimality_gap(scores: Array, weights: Array) -> Array:
    """How far scores fall short of 1 on average, what exceeds 1 counting as 1, `[R]`.

    0 is best; a score of 0 everywhere has 1.
    """
    return weighted_mean(np.maximum(1.0 - scores, 0.0), weights)


def weighted_profile(scores: Array, weights: Array, thresholds: Array) -> Array:
    """Share of the scores, `[N]`, above each of T thresholds: `[R, T]`."""
    return np.asarray(weights @ (scores[:, None] > thresholds).astype(np.float64))
