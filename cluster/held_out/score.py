"""Which version of alpha is best, by held-out tests, and when to stop looking for a better one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from metagenrl.base.wording import counted
from metagenrl.runs.config.held_out import HeldOutOptions


@dataclass(frozen=True)
class Standing:
    """Versions that were tested so far and what came of it."""

    scores: dict[int, float | None]  # by version, ascending
    best: int | None
    without_progress: int  # tested versions after the best one

    @property
    def best_score(self) -> float | None:
        """The best version's score."""
        return None if self.best is None else self.scores[self.best]


def standing(returns: Mapping[int, Mapping[str, float | None]], envs: Sequence[str]) -> Standing:
    """Score every version from its mean return in each of `envs`; of equal ones the first is best.

    In one environment the score is the return. In several it is the mean over environments of
    the return's place between the lowest (0) and the highest (1) of all versions, so that none
    counts for more because its returns are larger. A version without a return in each of them
    (a test failed, or an agent diverged) has no score and cannot be best.
    """
    complete: dict[int, list[float]] = {}
    for version, by_env in sorted(returns.items()):
        values = [value for env in envs if (value := by_env.get(env)) is not None]
        if len(values) == len(envs):
            complete[version] = values
    columns = list(zip(*complete.values(), strict=True))
    scores: dict[int, float | None] = dict.fromkeys(sorted(returns))
    for version, values in complete.items():
        places = [_place(value, column) for value, column in zip(values, columns, strict=True)]
        scores[version] = values[0] if len(envs) == 1 else sum(places) / len(places)
    scored = {version: score for version, score in scores.items() if score is not None}
    best = max(scored, key=lambda version: (scored[version], -version), default=None)
    after = 0 if best is None else sum(version > best for version in scores)
    return Standing(scores, best, after)


def _place(value: float, column: Sequence[float]) -> float:
    low, high = min(column), max(column)
    return (value - low) / (high - low) if high > low else 0.0


def metric(options: HeldOutOptions) -> str:
    """The meaning of a score, in words."""
    envs = ", ".join(options.eval_envs)
    where = f"after {options.eval_steps} steps, {counted(options.eval_seeds, 'seed')}"
    if len(options.eval_envs) == 1:
        return f"mean return in {envs} {where}"
    return (
        f"mean over {envs} of the return's place between the versions' lowest and highest {where}"
    )
