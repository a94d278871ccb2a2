"""`metagenrl sweep --file FILE --out DIR`: options x seeds in the queue of the studies."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metagenrl.base.checks import UsageError
from metagenrl.commands.parsing import parse
from metagenrl.commands.studies.experiment import REPORT, carry_out, check_out, show_jobs
from metagenrl.runs.config.yaml import build
from metagenrl.studies.options import SweepConfig

if TYPE_CHECKING:
    from metagenrl.studies.plan import Plan
    from metagenrl.studies.points import Point
    from metagenrl.studies.sweep import Sweep


def sweep_config(argv: Sequence[str]) -> SweepConfig:
    """The configuration of `metagenrl sweep`. Raises `UsageError`."""
    return build(SweepConfig, parse(SweepConfig, argv))


def check_sweep(config: SweepConfig) -> None:
    """Refuse a sweep with a mistake in any of its commands, and an unusable `out`."""
    from metagenrl.commands.studies.checks import check_jobs
    from metagenrl.studies.points import points_of
    from metagenrl.studies.sweep import read_sweep

    sweep = read_sweep(config.file)
    if sweep.search and config.on != "tune":
        raise UsageError(f"search: got {sweep.search!r}, allowed: nothing without --on tune")
    if config.on == "tune" and config.share:
        raise UsageError(f"share: got {config.share!r}, allowed: nothing with --on tune")
    check_out(config.out, needed=config.report_only)
    check_jobs(_plan(sweep, points_of(sweep), config), "sweep", not config.report_only)


def _plan(sweep: Sweep, points: Sequence[Point], config: SweepConfig) -> Plan:
    from metagenrl.studies.plan import Plan, plan
    from metagenrl.studies.points import agent_jobs, recipe_of

    if sweep.command == "train":
        return plan(recipe_of(sweep, points, config.file.stem), config.out)
    return Plan(tuple(agent_jobs(sweep, points, config.out)), ())


def _plan_of(sweep: Sweep, config: SweepConfig, point: Point) -> Plan:
    return _plan(sweep, [point], config)


def run_sweep(config: SweepConfig) -> int:
    """Run what is missing and compare the points; 1 where a job failed, or nothing is there."""
    from metagenrl.studies.points import points_of
    from metagenrl.studies.queue import locked
    from metagenrl.studies.sweep import read_sweep

    sweep = read_sweep(config.file)
    points = points_of(sweep)
    if config.on == "tune":  # its trials have working folders of their own
        config = dataclasses.replace(config, out=config.out.absolute())
    if config.show:
        return show_jobs(_plan(sweep, points, config).jobs)
    failed = 0
    with contextlib.nullcontext() if config.report_only else locked(config.out, config.share):
        if config.on == "tune" and not config.report_only:
            from metagenrl.cluster.tune import tune_sweep

            plan_of = functools.partial(_plan_of, sweep, config)
            points, failed = tune_sweep(sweep, plan_of, config.out)
        elif not config.report_only:
            failed = len(carry_out(_plan(sweep, points, config).jobs, config))
        compared = _compare(sweep, points, config)
    return int(bool(failed) or (config.report_only and not compared))


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
