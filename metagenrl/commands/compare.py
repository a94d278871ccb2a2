"""`metagenrl compare RUN...`: what it is told, what it refuses, and what it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from metagenrl.base.checks import require
from metagenrl.base.paths import check_writable
from metagenrl.commands.parsing import parse
from metagenrl.commands.shell.troubles import named
from metagenrl.runs.config.yaml import build

if TYPE_CHECKING:
    from metagenrl.analysis.compare.scores import Scores

PICTURE, TABLE, NUMBERS = "comparison.png", "comparison.md", "comparison.csv"


@dataclass(frozen=True)
class CompareConfig:
    """Compare runs of `test` and `baseline`: a picture, a table, and numbers as CSV."""

    runs: Positional[tuple[Path, ...]]
    """Folders of runs, or folders that hold such."""
    out: Path
    """Folder for the results; files of an earlier comparison in it are replaced."""
    allow_steps: bool = False
    """Compare runs of different lengths at the last step that all were evaluated at."""
    allow_env_versions: bool = False
    """Count versions of an environment (-v4, -v5) as the same."""

    def __post_init__(self) -> None:
        require(len(self.runs) > 0, "runs", list(self.runs), "at least one folder")


def compare_config(argv: Sequence[str]) -> CompareConfig:
    """The configuration of `metagenrl compare`. Raises `UsageError`."""
    return build(CompareConfig, {"runs": ()} | parse(CompareConfig, argv))


def check_compare(config: CompareConfig) -> None:
    """Refuse an unusable `out`; what is wrong with the runs, reading them will tell."""
    check_writable("out", config.out)


def _read(config: CompareConfig) -> list[Scores]:
    """Raises `UsageError` for folders without finished agents and runs that do not go together."""
    from metagenrl.analysis.compare.read import comparable, read_rows  # numpy, rich

    try:
        rows = read_rows(config.runs)
        scores = comparable(rows, config.allow_steps, config.allow_env_versions)
        require(
            any(score.final.size for score in scores),
            "runs",
            ", ".join(map(str, config.runs)),
            "at least one agent that reached its last step; here all failed or are unfinished",
        )
    except ValueError as error:
        raise named(error, config) from error
    return scores


def run_compare(config: CompareConfig) -> int:
    """Write the three files and print the table; 0."""
    from metagenrl.analysis.compare.output import to_csv, to_markdown, to_picture
    from metagenrl.analysis.compare.scores import compare
    from metagenrl.base.files.atomic import write_atomic

    comparison = compare(_read(config))
    table = to_markdown(comparison)
    config.out.mkdir(parents=True, exist_ok=True)
    write_atomic(config.out / TABLE, [table.encode()])
    write_atomic(config.out / NUMBERS, [to_csv(comparison).encode()])
    picture = to_picture(comparison, config.out / PICTURE)
    print(f"{table}\npicture: {picture}")
    return 0
