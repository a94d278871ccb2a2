"""A sweep as trials of Ray Tune: each point is a trial that runs the point's commands.

Tune places the trials on the cluster's CPUs, goes on with an interrupted sweep and, where the sweep
asks for it, lets Optuna choose the next point. Run folders must lie on a shared file system.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from metagenrl.analysis.compare.scores import Normalisation
from metagenrl.base.checks import UsageError
from metagenrl.cluster.joining.connect import connect
from metagenrl.studies.plan import Condition, Plan
from metagenrl.studies.points import Point, points_of, ranges_of
from metagenrl.studies.queue import run_here
from metagenrl.studies.results import Result, read_results, scales_of
from metagenrl.studies.sweep import Range, Sweep

SCORE = "score"
"""What trials report: the mean of the last third of the evaluations, in normalised scores where the
random objective and TD3 are there."""


def tune_sweep(
    sweep: Sweep, plan_of: Callable[[Point], Plan], out: Path
) -> tuple[list[Point], int]:
    """Run the sweep; the points that were tried, and how many of them failed.

    Raises `UsageError` without Optuna where the sweep asks for it.
    """
    from ray import tune

    algorithm = _algorithm(sweep)
    cpus = int(connect(lambda cpus: None))
    common = [job for job in plan_of(points_of(sweep)[0]).jobs if not job.chain]
    if run_here(common, max(1, cpus)):  # TD3 and the random objective: every trial needs them
        raise RuntimeError(f"a command that all trials need failed, see the logs in {out}")

    def trial(point: dict[str, Any]) -> None:
        plan = plan_of(point)
        if run_here([job for job in plan.jobs if job.chain], 1):
            raise RuntimeError(f"a command of {point} failed, see the logs in {out}")
        tune.report({SCORE: score_of(plan)})

    folder, trainable = out.absolute() / "tune", tune.with_resources(trial, {"cpu": 1})
    if tune.Tuner.can_restore(str(folder)):
        tuner = tune.Tuner.restore(str(folder), trainable, restart_errored=True)
    else:
        samples = 1 if sweep.random is None else sweep.random.points
        tuner = tune.Tuner(
            trainable,
            param_space=_space(sweep),
            tune_config=tune.TuneConfig(
                metric=SCORE, mode="max", num_samples=samples, search_alg=algorithm
            ),
            run_config=tune.RunConfig(name="tune", storage_path=str(out.absolute())),
        )
    results = tuner.fit()
    tried = [results[index].config for index in range(len(results))]
    return [dict(point) for point in tried if point], results.num_errors


def _algorithm(sweep: Sweep) -> Any:
    if not sweep.search:
        return None
    try:
        import optuna  # noqa: F401 - tune's wrapper reports its absence too late
        from ray.tune.search.optuna import OptunaSearch
    except ImportError:
        raise UsageError(
            "search: got 'optuna' (not installed), allowed: after `pip install optuna`"
        ) from None
    return OptunaSearch()


def _space(sweep: Sweep) -> dict[str, Any]:
    from ray import tune

    choose = tune.choice if sweep.search else tune.grid_search
    space: dict[str, Any] = {name: choose(values) for name, values in sweep.grid.items()}
    for name, values in ranges_of(sweep.random).items() if sweep.random else ():
        space[name] = _domain(values)
    return space


def _domain(values: Range | list[Any]) -> Any:
    from ray import tune

    if isinstance(values, list):
        return tune.choice(values)
    if values.whole:
        make = tune.lograndint if values.log else tune.randint
        return make(int(values.low), int(values.high) + 1)
    return (tune.loguniform if values.log else tune.uniform)(values.low, values.high)


def score_of(plan: Plan) -> float:
    """The mean over a point's environments of what its agents reached, see `SCORE`."""
    conditions: Sequence[Condition] = plan.conditions or [
        Condition("point", _environment(job.words), "test", (job.folder,), "point")
        for job in plan.jobs
    ]
    results = read_results(conditions)
    scales: Mapping[str, Normalisation] = scales_of(results, "late")
    found = [_score(result, scales) for result in results if not result.handmade]
    return sum(found) / len(found) if found else float("nan")


def _score(result: Result, scales: Mapping[str, Normalisation]) -> float:
    interval, scale = result.interval("late"), scales.get(result.condition.env)
    if interval is None:
        return float("nan")
    value = interval.value
    return value if scale is None else (value - scale.zero) / (scale.one - scale.zero)


def _environment(words: Sequence[str]) -> str:
    return words[words.index("--env") + 1]
