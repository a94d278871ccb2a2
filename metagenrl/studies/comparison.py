"""What a sweep ends in: `compare` of its points, each by its own name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from metagenrl.analysis.compare.output import to_csv, to_markdown, to_picture
from metagenrl.analysis.compare.read import TestedRow, comparable, read_rows
from metagenrl.analysis.compare.scores import compare
from metagenrl.base.files.atomic import write_atomic
from metagenrl.runs.names import EVALUATIONS_FILE


def write_comparison(folders: Mapping[str, Sequence[Path]], out: Path) -> str | None:
    """Write `comparison.md`, `.csv` and `.png` to `out` and give the table.

    `folders` has the runs of each point. Runs of different lengths are compared at the last step
    that all have. None where there is no evaluation yet.
    """
    rows = []
    for name, runs in folders.items():
        there = [run for run in runs if _evaluated(run)]
        for tested in read_rows(there) if there else []:
            rows.append(TestedRow(tested.run, replace(tested.row, label=name)))
    if not rows:
        return None
    comparison = compare(comparable(rows, mix_steps=True, mix_versions=False, named=True))
    table = to_markdown(comparison)
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "comparison.md", [table.encode()])
    write_atomic(out / "comparison.csv", [to_csv(comparison).encode()])
    to_picture(comparison, out / "comparison.png")
    return table


def _evaluated(run: Path) -> bool:
    file = run / EVALUATIONS_FILE
    return file.is_file() and file.stat().st_size > 0
