"""Aggregates of normalised scores over their last axis, after Agarwal et al. (NeurIPS 2021)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def mean(scores: Array) -> Array:
    """`[..., N] -> [...]`."""
    return np.asarray(scores.mean(axis=-1))


def interquartile_mean(scores: Array, axis: int = -1) -> Array:
    """The mean of the middle half along `axis`; of fewer than four scores, the mean.

    As rliable's `aggregate_iqm`, without scipy, whose import takes a process 1 s and 75 MB.
    """
    count = scores.shape[axis]
    ordered = np.moveaxis(np.sort(scores, axis=axis), axis, -1)  # [..., N]
    return np.asarray(ordered[..., count // 4 : count - count // 4].mean(axis=-1))


def optimality_gap(scores: Array) -> Array:
    """How far scores fall short of 1 on average, what exceeds 1 counting as 1: `[..., N] -> [...]`.

    0 is best; a score of 0 everywhere has 1.
    """
    return np.asarray(np.maximum(1.0 - scores, 0.0).mean(axis=-1))


def performance_profile(scores: Array, thresholds: Array) -> Array:
    """Share of the scores above each of T thresholds, `[..., N] -> [..., T]`."""
    ordered = np.sort(scores, axis=-1)
    flat = ordered.reshape(-1, ordered.shape[-1])
    at_most = np.stack([np.searchsorted(row, thresholds, side="right") for row in flat])
    share = 1.0 - at_most / ordered.shape[-1]
    return np.asarray(share.reshape(*scores.shape[:-1], len(thresholds)))
