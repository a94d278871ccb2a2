"""`metagenrl objective show`: what a snapshot says about itself, as a table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from tyro.conf import Positional

from metagenrl.base.checks import UsageError
from metagenrl.base.console import table_console
from metagenrl.objective_server.snapshots.find import find_snapshot
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot


def show_objective(path: Path) -> int:
    """Print the snapshot in `path`; 0. Raises `UsageError` where it is damaged or none."""
    try:
        snapshot = ObjectiveSnapshot.load(find_snapshot(path))
    except ValueError as error:
        raise UsageError(
            f"file: got {str(path)!r} ({error}), allowed: an objective's snapshot"
        ) from error
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in describe(snapshot):
        table.add_row(name, value)
    table_console().print(table)
    return 0


def describe(snapshot: ObjectiveSnapshot) -> list[tuple[str, str]]:
    """(label, text) of each fact, in the order in which they are shown."""
    config: dict[str, Any] = snapshot.config
    return [
        ("architecture", ", ".join(f"{name} {value}" for name, value in config.items())),
        ("parameters", f"{snapshot.alpha.size:,}"),
        ("version", str(snapshot.version)),
        ("environments", ", ".join(snapshot.environments)),
        ("steps", f"{snapshot.steps:,} environment steps of the whole population"),
        ("run", snapshot.run),
        ("created", snapshot.created),
        ("checksum", f"sha256 {snapshot.checksum}"),
    ]


@dataclass(frozen=True)
class ShowConfig:
    """Describe a saved objective."""

    file: Positional[Path]
    """Snapshot of an objective, as under objectives/ of a run folder, the folder of a
    meta-training run (its best version), or `pretrained[:NAME]`."""
