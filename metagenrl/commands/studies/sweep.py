"""`metagenrl sweep --file FILE --out DIR`: options x seeds in the queue of the studies."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metagenrl.base.checks import UsageError
from metagenrl.commands.parsing import parse
from metagenrl.commands.studies.experiment import (
    REPORT,
    carry_out,
    check_out,
    queue_for,
    show_jobs,
    tell,
    with_out_for_all,
)
from metagenrl.runs.config.yaml import build
from metagenrl.studies.options import SweepConfig

if TYPE_CHECKING:
    from metagenrl.studies.plan import Plan
    from metagenrl.studies.points import Point
    from metagenrl.studies.sweep import Sweep


def sweep_config(argv: Sequence[str]) -> SweepConfig:
    """The configuration of `metagenrl sweep`. Raises `UsageError`."""
    return with_out_for_all(build(SweepConfig, parse(SweepConfig, argv)))


def check_sweep(config: SweepConfig) -> None:
    """Refuse a sweep with a mistake in any of its commands, and an unusable `out`.

    Of a search these are the commands of the points that were tried before, and of drawn ones: what
    will be chosen is not known yet.
    """
    from metagenrl.commands.studies.checks import check_jobs
    from metagenrl.studies.points import each_once, points_of
    from metagenrl.studies.sweep import read_sweep

    sweep = read_sweep(config.file)
    runs = not config.report_only
    if sweep.search:
        _check_search(sweep, config)
    check_out(config.out, needed=config.report_only)
    points = points_of(sweep)
    if sweep.search:
        points = each_once([*_known_points(sweep, config), *points])
    check_jobs(_plan(sweep, points, config), "sweep", runs)


def _check_search(sweep: Sweep, config: SweepConfig) -> None:
    if config.on != "tune":
        raise UsageError(f"search: got {sweep.search!r}, allowed: nothing without --on tune")
    if config.share:
        allowed = f"nothing with search: {sweep.search}"
        raise UsageError(f"share: got {config.share!r}, allowed: {allowed}")
    runs = not config.report_only and not config.show
    if runs and importlib.util.find_spec("optuna") is None:
        raise UsageError(
            "search: got 'optuna' (not installed), allowed: after `pip install optuna`"
        )


def _plan(sweep: Sweep, points: Sequence[Point], config: SweepConfig) -> Plan:
    from metagenrl.studies.plan import Plan, plan
    from metagenrl.studies.points import agent_jobs, recipe_of

    if sweep.command == "train" and points:  # a search may not have chosen any
        return plan(recipe_of(sweep, points, config.file.stem), config.out)
    return Plan(tuple(agent_jobs(sweep, points, config.out)), ())


def _plan_of(sweep: Sweep, config: SweepConfig, point: Point) -> Plan:
    return _plan(sweep, [point], config)


def _known_points(sweep: Sweep, config: SweepConfig) -> list[Point]:
    """All points of the sweep; of a search those that it has chosen up to now."""
    from metagenrl.studies.points import points_of
    from metagenrl.studies.search.points_file import NotedPoints

    if not sweep.search:
        return points_of(sweep)
    assert sweep.random is not None
    return NotedPoints(config.out, sweep.random.options).points


def run_sweep(config: SweepConfig) -> int:
    """Run what is missing and compare the points; 1 where a job failed, or nothing is there."""
    from metagenrl.studies.queue import locked
    from metagenrl.studies.sweep import read_sweep

    sweep = read_sweep(config.file)
    if config.show:
        return _show(sweep, config)
    failed = 0
    with contextlib.nullcontext() if config.report_only else locked(config.out, config.share):
        if sweep.search and not config.report_only:
            failed = _search(sweep, config)
        points = _known_points(sweep, config)
        if not sweep.search and not config.report_only:
            failed = len(carry_out(_plan(sweep, points, config).jobs, config))
        compared = _compare(sweep, points, config)
    return int(bool(failed) or (config.report_only and not compared))


def _show(sweep: Sweep, config: SweepConfig) -> int:
    from metagenrl.studies.points import points_of
    from metagenrl.studies.search.search import common_jobs

    points = _known_points(sweep, config)
    if points:
        show_jobs(_plan(sweep, points, config).jobs)
    else:
        show_jobs(common_jobs(_plan_of(sweep, config, points_of(sweep)[0])))
    if sweep.search and sweep.random is not None and len(points) < sweep.random.points:
        print(f"to do: {sweep.random.points - len(points)} points that {sweep.search} chooses")
    return 0


def _search(sweep: Sweep, config: SweepConfig) -> int:
    """Run a search, or go on with it; how many jobs or points failed."""
    from metagenrl.studies.points import points_of
    from metagenrl.studies.queue import run_jobs
    from metagenrl.studies.search.points_file import NotedPoints
    from metagenrl.studies.search.search import Search, common_jobs

    assert sweep.random is not None
    noted = NotedPoints(config.out, sweep.random.options)
    random = dataclasses.replace(sweep.random, options=noted.options)
    plan_of = functools.partial(_plan_of, sweep, config)
    common = common_jobs(plan_of(points_of(sweep)[0]))
    with queue_for(config) as (runner, at_once):
        if common and (failed := run_jobs(common, at_once, runner, tell)):
            return len(failed)
        from metagenrl.cluster.tune import OptunaPoints

        search = Search(noted, OptunaPoints(random), plan_of, runner, tell)
        return search.run(random.points, at_once)


def _compare(sweep: Sweep, points: Sequence[Point], config: SweepConfig) -> bool:
    """The comparison of all points; of a sweep over `train` the study's report as well.

    Gives whether there was anything to compare.
    """
    from metagenrl.studies.comparison import write_comparison
    from metagenrl.studies.points import name_of, recipe_of
    from metagenrl.studies.report import write_report
    from metagenrl.studies.results import read_results

    whole = _plan(sweep, points, config)
    folders: dict[str, list[Path]] = {}
    for condition in whole.conditions:
        folders.setdefault(condition.rule, []).extend(condition.folders)
    if not whole.conditions:
        for point in points:
            of_point = [job.folder for job in _plan(sweep, [point], config).jobs]
            folders[name_of(point)] = of_point
    table = write_comparison(folders, config.out)
    if table is None:
        print("no evaluation is there yet: no comparison")
        return False
    print(f"{table}\ncomparison: {config.out / 'comparison.md'}")
    if whole.conditions:
        recipe = recipe_of(sweep, points, config.file.stem)
        results = read_results(whole.conditions)
        command = f"metagenrl sweep --file {config.file} --out OUT"
        print(f"scores: {write_report(recipe, results, config.out / REPORT, command)}")
    return True
