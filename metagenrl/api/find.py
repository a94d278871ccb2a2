"""Which file is meant by `pretrained`, `pretrained:NAME`, a run's folder or a snapshot file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from metagenrl.base.checks import UsageError
from metagenrl.objective_server.snapshots.find import find_snapshot

PRETRAINED = "pretrained"
FOLDER = Path(__file__).resolve().parent.parent / PRETRAINED
"""Where the package keeps the objectives that it ships."""

Version = int | Literal["best", "last"]


def objective_file(where: str | Path, version: Version = "best") -> Path:
    """The snapshot file that `where` means.

    Raises `UsageError`, one line, where there is no such objective.
    """
    text = str(where)
    if text == PRETRAINED or text.startswith(f"{PRETRAINED}:"):
        return pretrained_file(text.partition(":")[2])
    try:
        return find_snapshot(Path(where), version)
    except ValueError as error:
        raise UsageError(
            f"objective: got {text!r} ({error}), allowed: {PRETRAINED}, a run folder, a snapshot "
            "file"
        ) from error


def pretrained_file(name: str = "", folder: Path = FOLDER) -> Path:
    """The snapshot of a shipped objective; without a name, of the first one.

    Raises `UsageError`, one line, which lists the names that are there.
    """
    there = {path.stem: path for path in sorted(folder.glob("*.safetensors"))}
    if not there:
        raise UsageError(
            f"objective: got '{PRETRAINED}' (this installation ships no objective), allowed: a run "
            "folder, a snapshot file"
        )
    name = name or next(iter(there))
    if name not in there:
        raise UsageError(f"objective: got '{PRETRAINED}:{name}', allowed: {', '.join(there)}")
    return there[name]
