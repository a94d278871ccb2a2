"""From run folders to the finished page."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from metagenrl.analysis.compare.same import repeated
from metagenrl.analysis.report.configuration import configuration_section
from metagenrl.analysis.report.discover import Runs, find_runs
from metagenrl.analysis.report.evolution import evolution_section
from metagenrl.analysis.report.films import films_section
from metagenrl.analysis.report.glance import glance_section
from metagenrl.analysis.report.page import write_report
from metagenrl.analysis.report.results import results_section, versions_section
from metagenrl.analysis.report.rules import Rules
from metagenrl.analysis.report.setups import comparison_section
from metagenrl.analysis.report.training import training_section
from metagenrl.analysis.report.variants import Variants
from metagenrl.analysis.run_history import read_history
from metagenrl.base.wording import counted

logger = logging.getLogger(__name__)


def make_report(folders: Sequence[Path], out: Path) -> Path:
    """Write the report on the runs that `folders` are or hold into `out`; the page's path.

    Raises `OSError` where it cannot be written.
    """
    runs = _each_agent_once(find_runs(folders))
    variants = Variants(runs.training)
    rules = Rules(runs, variants)
    histories = {run.path: read_history(run.path) for run in runs.training}
    sections = [
        glance_section(runs, rules, histories),
        results_section(rules),
        films_section(runs, histories),
        versions_section(runs, rules, histories),
        comparison_section(runs, rules, variants, histories),
        *(training_section(run, histories[run.path], i) for i, run in enumerate(runs.training)),
        *(evolution_section(run, i) for i, run in enumerate(runs.evolved)),
        configuration_section(runs, histories),
    ]
    return write_report(_title(runs, folders), _subtitle(runs), sections, out)


def _each_agent_once(runs: Runs) -> Runs:
    """The runs without those that hold an agent of another one, which would count twice."""
    twice = repeated(runs.tests)
    for path, first in twice.items():
        logger.warning("%s is left out: its agents are those of %s", path, first)
    return replace(runs, tests=[run for run in runs.tests if run.path not in twice])


def _title(runs: Runs, folders: Sequence[Path]) -> str:
    if len(runs.training) == 1 and not runs.evolved:
        return f"Meta-training: {runs.training[0].name}"
    return f"Report: {', '.join(folder.resolve().name for folder in folders)}"


def _subtitle(runs: Runs) -> str:
    written = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    trained, tested = len(runs.training), len(runs.tests)
    evolved = f", {len(runs.evolved)} of evolved losses" if runs.evolved else ""
    return (
        f"{counted(trained, 'meta-training run')}{evolved}, "
        f"{counted(tested, 'meta-test')} and baselines. Written {written}."
    )
