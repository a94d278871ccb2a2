"""A run's folder, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metagenrl.base.checks import UsageError, brief
from metagenrl.base.paths import user_path
from metagenrl.runs.config.yaml_file import load_mapping
from metagenrl.runs.folder import check_is_run
from metagenrl.runs.metrics_file import iter_rows
from metagenrl.runs.names import CONFIG_FILE, EVALUATIONS_FILE, METRICS_FILE
from metagenrl.runs.row_codec import KINDS

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Run:
    """The folder of a `train`, `test` or `baseline`; its files are read when asked for."""

    path: Path

    def __post_init__(self) -> None:
        """A path may be given as text."""
        object.__setattr__(self, "path", user_path("path", self.path))

    @cached_property
    def config(self) -> dict[str, Any]:
        """The complete configuration, nested as in `config.yaml`.

        Raises `UsageError` where the file is damaged.
        """
        return load_mapping(self.path / CONFIG_FILE, "path")

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Every row in the order in which it was written; `kind` says what it is.

        A line that is still being written is left out, and with a warning one that is damaged.
        """
        files = [(self.path / METRICS_FILE, None), (self.path / EVALUATIONS_FILE, "evaluation")]
        return [
            {"kind": row.kind} | {name: _plain(value) for name, value in vars(row).items()}
            for path, kind in files
            for row in iter_rows(path, kind)
        ]

    def frame(self, kind: str | None = None) -> pandas.DataFrame:
        """The rows of a kind (`agent`, `objective`, `evaluation` ...), or all, as a table.

        It is empty where the run has none of them so far. Raises `UsageError` for what is no kind.
        """
        import pandas

        if kind is not None and kind not in KINDS:
            raise UsageError(f"kind: got {brief(kind)}, allowed: {', '.join(KINDS)}")
        return pandas.DataFrame([_flat(r) for r in self.rows if kind in (None, r["kind"])])


def read_run(path: str | Path) -> Run:
    """The run in a folder. Raises `UsageError`, one line, where there is none.

    >>> read_run("no/such/run")
    Traceback (most recent call last):
        ...
    metagenrl.base.checks.UsageError: path: got 'no/such/run' (no such folder), allowed: \
the folder of a run
    """
    run = Run(user_path("path", path))
    check_is_run("path", run.path)
    return run


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's `values` as columns of their own."""
    values = row.get("values")
    rest = {name: value for name, value in row.items() if name != "values"}
    return {**rest, **values} if isinstance(values, Mapping) else dict(row)
