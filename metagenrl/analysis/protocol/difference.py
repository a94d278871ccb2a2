"""How far one rule is above another, in normalised scores, with an interval for the difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from metagenrl.analysis.confidence import CONFIDENCE, Interval
from metagenrl.analysis.protocol.aggregates import interquartile_mean
from metagenrl.analysis.protocol.bootstrap import REPETITIONS, SEED, resample, tables_of, together
from metagenrl.analysis.protocol.scores import ONE, ZERO, Seeds

Array = NDArray[np.float64]
Numbers = Mapping[str, Mapping[str, Seeds]]
"""By rule, then by environment: for each meta-training seed the returns of its agents."""


def difference(
    numbers: Numbers,
    first: str,
    second: str,
    environments: Sequence[str],
    repetitions: int = REPETITIONS,
) -> Interval | None:
    """Interquartile mean of `first` less that of `second`, with a 95 % interval.

    A sample draws the agents anew that are the scores' 0 and 1, too; where one of the two rules is
    0 or 1 itself, they are the same draw. Samples in which 1 is not above 0 in every environment
    have no scores and are left out. None where the agents themselves have none, or half of the
    samples or more. Rules of a single unit, which says nothing of the spread, are not for this.
    """
    rules = dict.fromkeys((ZERO, ONE, first, second))
    tables = {rule: tables_of({env: numbers[rule][env] for env in environments}) for rule in rules}
    everyone = {rule: [table.reshape(1, -1) for table in of] for rule, of in tables.items()}
    value, sound = _differences(everyone, first, second)
    random = np.random.default_rng(SEED)
    drawn = {rule: resample(of, repetitions, random) for rule, of in tables.items()}
    values, usable = _differences(drawn, first, second)
    if not sound.all() or usable.mean() <= 0.5:
        return None
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(values[usable], [tail, 100 - tail])
    return Interval(float(value[0]), float(low), float(high))


def _differences(
    samples: Mapping[str, Sequence[Array]], first: str, second: str
) -> tuple[Array, NDArray[np.bool_]]:
    """`[R]` differences, and whether a sample has scores."""
    zero = [drawn.mean(axis=1, keepdims=True) for drawn in samples[ZERO]]
    one = [drawn.mean(axis=1, keepdims=True) for drawn in samples[ONE]]
    sound = np.concatenate([o > z for o, z in zip(one, zero, strict=True)], axis=1).all(axis=1)
    means = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for rule in (first, second):
            scores = [(x - z) / (o - z) for x, z, o in zip(samples[rule], zero, one, strict=True)]
            means.append(interquartile_mean(together(scores)))
    return means[0] - means[1], np.asarray(sound)
