"""The inputs of L_alpha in one C call: `features` of `objective.h`.

Same values as `objective/features.py`, to rounding.
"""

from __future__ import annotations

import ctypes

from torch import Tensor, empty_like

from metagenrl.learner.hyperparams import ObjectiveConfig
from metagenrl.learner.native import library
from metagenrl.learner.objective.features import feature_count
from metagenrl.learner.types import Batch

_SCHEMES = ("zscore", "joint", "td")  # their numbers in objective.h


class FeatureSizes(ctypes.Structure):
    """`features` of `objective.h`."""

    _fields_ = [
        *(
            (name, ctypes.c_long)
            for name in ("B", "T", "time", "value", "next", "advantage", "scheme")
        ),
        ("discount", ctypes.c_double),
    ]


def feature_sizes(config: ObjectiveConfig, segments: int, steps: int) -> FeatureSizes:
    """A minibatch's sizes and which inputs the variant has."""
    value = config.use_value
    return FeatureSizes(
        segments, steps, config.use_time, value, value and config.use_next_value,
        config.use_advantage, _SCHEMES.index(config.normalization), config.td_discount,
    )  # fmt: skip


def native_features(
    config: ObjectiveConfig,
    batch: Batch,
    v: Tensor | None = None,
    v_next: Tensor | None = None,
    q: Tensor | None = None,
) -> Tensor:
    """`input_features` in one C call."""
    mask, how = batch.mask.contiguous(), feature_sizes(config, *batch.mask.shape)
    features = mask.new_empty(*mask.shape, feature_count(config))
    used = config.use_value
    values = (x.contiguous() if used and x is not None else None for x in (v, v_next, q))
    library.call(
        "objective_features", mask.dtype, how, batch.rewards.contiguous(), *values,
        batch.terminated.contiguous(), mask, features, empty_like(mask),
    )  # fmt: skip
    return features
