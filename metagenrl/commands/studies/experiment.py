"""`metagenrl experiment --recipe FILE --out DIR`: a study from its recipe to its table."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from metagenrl.base.checks import require
from metagenrl.base.ending import EndedBySignal, Ending, say
from metagenrl.base.paths import check_writable
from metagenrl.commands.parsing import parse
from metagenrl.runs.config.yaml import build
from metagenrl.studies.options import ExperimentConfig, SweepConfig

if TYPE_CHECKING:
    from metagenrl.studies.job import Job
    from metagenrl.studies.plan import Plan
    from metagenrl.studies.queue import Runner
    from metagenrl.studies.recipe import Recipe

Options = TypeVar("Options", ExperimentConfig, SweepConfig)

REPORT = "report"
"""Name of table, picture and curves in `out`, before .md, .csv, .png and _curves.csv."""


def experiment_config(argv: Sequence[str]) -> ExperimentConfig:
    """The configuration of `metagenrl experiment`. Raises `UsageError`."""
    return with_out_for_all(build(ExperimentConfig, parse(ExperimentConfig, argv)))


def with_out_for_all(options: Options) -> Options:
    """The options with a folder that Ray's nodes, who work elsewhere, find as well."""
    if options.on == "local":
        return options
    return dataclasses.replace(options, out=options.out.absolute())


def check_experiment(config: ExperimentConfig) -> None:
    """Refuse a recipe with a mistake in any of its commands, and an unusable `out`."""
    from metagenrl.commands.studies.checks import check_jobs, check_sets
    from metagenrl.studies.plan import plan
    from metagenrl.studies.read_recipe import read_recipe

    recipe = read_recipe(config.recipe, config.scale)
    check_out(config.out, needed=config.report_only and config.curves is None)
    whole = plan(recipe, config.out, list(recipe.variants))
    runs = not config.report_only and config.curves is None
    check_sets(recipe, check_jobs(whole, "recipe", runs))


def check_out(out: Path, needed: bool) -> None:
    """Refuse an `out` that cannot be used, and one that is not there where it is `needed`."""
    require(out.is_dir() or not needed, "out", str(out), "with --report-only a study's folder")
    check_writable("out", out)


def run_experiment(config: ExperimentConfig) -> int:
    """Run what is missing and write the report; 1 where a job failed, or nothing is there."""
    from metagenrl.studies.plan import plan
    from metagenrl.studies.queue import locked
    from metagenrl.studies.read_recipe import read_recipe

    recipe = read_recipe(config.recipe, config.scale)
    if config.show:
        return show_jobs(plan(recipe, config.out, list(recipe.variants)).jobs)
    if config.curves is not None:
        return _report(config, recipe, plan(recipe, config.out, list(recipe.variants)))
    with contextlib.nullcontext() if config.report_only else locked(config.out, config.share):
        first = plan(recipe, config.out)
        failed = [] if config.report_only else carry_out(first.jobs, config)
        chosen = _choose(recipe, first)
        whole = first if chosen is None else plan(recipe, config.out, chosen)
        if chosen is not None and not failed and not config.report_only:
            failed = carry_out(whole.jobs, config)
        return _report(config, recipe, whole) or int(bool(failed))


def _choose(recipe: Recipe, first: Plan) -> list[str] | None:
    """The variants that the selection keeps; None: nothing to choose, or not all is there yet."""
    from metagenrl.studies.results import best_variants, read_results

    if not recipe.chooses or not all(job.done for job in first.jobs):
        return None
    groups = {name: variant.group for name, variant in recipe.variants.items()}
    chosen = best_variants(read_results(first.conditions), groups, recipe.keep)
    print(f"kept by the selection environments: {', '.join(chosen)}", flush=True)
    return chosen


def _report(config: ExperimentConfig, recipe: Recipe, whole: Plan) -> int:
    from metagenrl.studies.kept_curves import read_kept_curves
    from metagenrl.studies.report import write_report
    from metagenrl.studies.results import read_results

    if config.curves is None:
        results = read_results(whole.conditions)
    else:
        first_seed = recipe.scale.first_meta_seed
        results = read_kept_curves(config.curves, whole.conditions, first_seed)
    if not results:
        print("no evaluation is there yet: no report")
        return int(config.report_only or config.curves is not None)
    words = ["metagenrl", "experiment", "--recipe", str(config.recipe), "--scale", config.scale]
    words += [] if config.curves is None else ["--curves", str(config.curves)]
    command = shlex.join([*words, "--out", "OUT"])
    path = write_report(
        recipe, results, config.out / REPORT, command, measured_here=config.curves is None
    )
    print(f"{path.read_text()}\ntable: {path}")
    return 0


def show_jobs(jobs: Sequence[Job]) -> int:
    """Print every command with its state; 0."""
    for job in jobs:
        state = "done" if job.done else "to do"
        print(f"{state}: metagenrl {shlex.join([*job.words, '--run-dir', str(job.folder)])}")
    return 0


def carry_out(jobs: Sequence[Job], options: ExperimentConfig | SweepConfig) -> list[Job]:
    """Run this worker's share of the jobs; those that failed."""
    from metagenrl.studies.queue import run_jobs, share_of

    mine = share_of(jobs, *options.part)
    with queue_for(options) as (runner, at_once):
        return run_jobs(mine, at_once, runner, tell)


@contextlib.contextmanager
def queue_for(options: ExperimentConfig | SweepConfig) -> Iterator[tuple[Runner, int]]:
    """Where jobs run, and how many at a time. A signal ends those that run, and is told."""
    with contextlib.ExitStack() as stack:
        ending = stack.enter_context(Ending("the same command").listening())
        if options.on != "local":
            from metagenrl.cluster.joining.own_ray import ended_with_own_ray

            stack.enter_context(ended_with_own_ray(ending))
        runner, at_once = _runner(options)
        ending.listen_again()  # Ray, which has been started, has handlers of its own
        try:
            yield runner, at_once
        except EndedBySignal:
            say("its jobs have ended; the same command goes on with those that are not done")
            raise
        finally:
            runner.close()


def tell(text: str) -> None:
    """A line of progress."""
    print(text, flush=True)


def _runner(options: ExperimentConfig | SweepConfig) -> tuple[Runner, int]:
    if options.on != "local":
        from metagenrl.cluster.queue import RayTasks

        tasks = RayTasks()
        return tasks, tasks.cpus
    from metagenrl.studies.queue import LocalProcesses

    return LocalProcesses(), options.jobs
