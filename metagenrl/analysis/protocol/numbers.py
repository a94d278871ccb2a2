"""Two numbers of a run's evaluations; a last evaluation alone jumps too much to be one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from metagenrl.analysis.learning_curves import Curves

Array = NDArray[np.float64]
Number = Literal["area", "late"]

LATE = 2 / 3
"""Share of the steps after which evaluations count as late."""


def area_under_curve(curves: Curves) -> Array:
    """Mean height of each agent's curve, `[K]`: its area by the trapezoid rule over its steps.

    NaN of an agent that lacks one of the evaluations. The unit is the return's.
    """
    if curves.steps.size == 1:
        return curves.returns[:, 0].copy()
    area: Array = np.asarray(np.trapezoid(curves.returns, curves.steps, axis=1))
    return area / (curves.steps[-1] - curves.steps[0])


def late_mean(curves: Curves) -> Array:
    """Mean over each agent's evaluations in the last third of the steps, `[K]`.

    Evaluations at more than two thirds of the last step count, the last one among them. NaN of an
    agent that lacks one of these.
    """
    late = curves.steps > LATE * curves.steps[-1]
    late[-1] = True
    mean: Array = curves.returns[:, late].mean(axis=1)
    return mean


NUMBERS: dict[Number, Callable[[Curves], Array]] = {"area": area_under_curve, "late": late_mean}
NAMES: dict[Number, str] = {"area": "whole curve", "late": "last third"}
TITLES: dict[Number, str] = {
    "area": "mean height of the learning curve",
    "late": "mean of the last third of the evaluations",
}
