"""Ray Tune's `OptunaSearch` chooses the points of a search.

Tune's own way to run them is not used: the jobs of a search are those of every study, in the same
queue.
"""

from __future__ import annotations

from typing import Any

from metagenrl.studies.points import Point, ranges_of
from metagenrl.studies.sweep import Random, Range

_SCORE = "score"


class OptunaPoints:
    """See `Chooser`; Optuna has to be installed."""

    def __init__(self, random: Random) -> None:
        import optuna
        from ray.tune.search.optuna import OptunaSearch

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._ranges = ranges_of(random)
        self._search = OptunaSearch(seed=random.seed)
        space = {name: _domain(values) for name, values in self._ranges.items()}
        self._search.set_search_properties(_SCORE, "max", space)

    def know(self, point: Point, score: float) -> None:
        """Take into account what was tried before."""
        inner = {name: _inner(values, point[name]) for name, values in self._ranges.items()}
        self._search.add_evaluated_point(inner, score)

    def suggest(self, number: int) -> Point:
        """The point to be tried under this number."""
        found = self._search.suggest(str(number))
        assert found is not None  # Optuna has no end
        return {name: _outer(values, found[name]) for name, values in self._ranges.items()}

    def tell(self, number: int, score: float | None) -> None:
        """What came of that suggestion; None: nothing that counts."""
        result = None if score is None else {_SCORE: score}
        self._search.on_trial_complete(str(number), result, error=score is None)


def _domain(values: Range | list[Any]) -> Any:
    """What Tune draws from; of a list the places, since Optuna has its own ideas of values."""
    from ray import tune

    if isinstance(values, list):
        return tune.choice(list(range(len(values))))
    if values.whole:
        low, high = _ends(values)
        make = tune.lograndint if values.log else tune.randint
        return make(int(low), int(high) + 1)
    return (tune.loguniform if values.log else tune.uniform)(values.low, values.high)


def _ends(values: Range) -> tuple[float, float]:
    """The least and the largest value that Optuna gives, and takes."""
    if not values.whole:
        return values.low, values.high
    low = max(1, round(values.low)) if values.log else round(values.low)
    return low, max(low, round(values.high))


def _outer(values: Range | list[Any], found: Any) -> Any:
    return values.rounded(found) if isinstance(values, Range) else values[found]


def _inner(values: Range | list[Any], value: Any) -> Any:
    """What Optuna would have given for a point's value, which was rounded."""
    if isinstance(values, list):
        return [str(one) for one in values].index(str(value))
    low, high = _ends(values)
    return min(max(value, low), high)
