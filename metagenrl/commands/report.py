"""`metagenrl report RUN...`: what it is told, what it refuses, and what it does."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from metagenrl.base.checks import UsageError, require
from metagenrl.base.paths import check_writable
from metagenrl.commands.parsing import parse
from metagenrl.runs.config.yaml import build

logger = logging.getLogger(__name__)

FOLDER = "report"
"""Where the page goes within the first run's folder."""


@dataclass(frozen=True)
class ReportConfig:
    """Write a page and pictures about runs, their meta-tests and baselines."""

    runs: Positional[tuple[Path, ...]]
    """Folders of runs, or folders that hold such; tests below a run belong to it."""
    out: Path | None = None
    """Folder of the page and its PNGs; None: `report` in the first of the folders."""

    def __post_init__(self) -> None:
        require(len(self.runs) > 0, "runs", list(self.runs), "at least one folder")

    @property
    def folder(self) -> Path:
        """Where everything is written."""
        return self.runs[0] / FOLDER if self.out is None else self.out


def report_config(argv: Sequence[str]) -> ReportConfig:
    """The configuration of `metagenrl report`. Raises `UsageError`."""
    return build(ReportConfig, {"runs": ()} | parse(ReportConfig, argv))


def check_report(config: ReportConfig) -> None:
    """Refuse folders that hold no run, and one that cannot be written to."""
    from metagenrl.analysis.report.discover import find_runs

    for folder in config.runs:
        if not folder.is_dir():
            raise _refused(folder, "a file" if folder.exists() else "no such folder")
        runs = find_runs([folder])
        if runs.none:
            raise _refused(folder, next(iter(runs.damaged.values()), "holds no run"))
        for path, why in runs.damaged.items():
            logger.warning("%s is left out: %s", path, why)
    check_writable("out", config.folder)


def _refused(folder: Path, reason: str) -> UsageError:
    return UsageError(
        f"runs: got {str(folder)!r} ({reason}), allowed: folders of runs, or that hold runs"
    )


def report(config: ReportConfig) -> int:
    """Write the report and say where it is; 0."""
    from metagenrl.analysis.report.assemble import make_report

    print(f"report: {make_report(config.runs, config.folder)}")
    return 0
