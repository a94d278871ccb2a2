"""Where a run keeps its objectives, and which one is meant by `best`, `last` or a number."""

from __future__ import annotations

import functools
import json
import logging
import re
from pathlib import Path
from typing import Any

from metagenrl.base.checks import require, whole_number
from metagenrl.base.files.atomic import write_atomic
from metagenrl.base.files.errors import CorruptFile
from metagenrl.objective_server.snapshots.errors import SnapshotNotFound
from metagenrl.objective_server.snapshots.pretrained import is_pretrained, pretrained_file
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.objective_server.snapshots.version import Version

FOLDER = "objectives"
BEST = "best.json"
_FILE = re.compile(r"objective-([0-9]+)\.safetensors")

logger = logging.getLogger(__name__)


def snapshot_path(run_dir: Path, version: int) -> Path:
    """The file of one version of a run's objective."""
    return run_dir / FOLDER / f"objective-{version:08d}.safetensors"


def snapshot_versions(run_dir: Path) -> list[int]:
    """The versions a run's folder holds, ascending."""
    folder = run_dir / FOLDER
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(match[1]) for match in map(_FILE.fullmatch, names) if match)


def record_best(run_dir: Path, version: int, score: float, metric: str) -> None:
    """Note in `objectives/best.json` which version a held-out evaluation picked, and by what.

    Raises `SnapshotNotFound` where the run has no snapshot of that version.
    """
    there = snapshot_versions(run_dir)
    if version not in there:
        raise SnapshotNotFound(run_dir, str(version), _listed(there))
    body = {"version": version, "score": score, "metric": metric}
    write_atomic(run_dir / FOLDER / BEST, [json.dumps(body).encode()])


def read_best(run_dir: Path) -> dict[str, Any] | None:
    """The note of `record_best`, or None. Raises `CorruptFile` where it cannot be read."""
    path = run_dir / FOLDER / BEST
    try:
        body = json.loads(path.read_bytes())  # a missing one is no fault
        return {
            "version": int(body["version"]),
            "score": float(body["score"]),
            "metric": str(body["metric"]),
        }
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, OSError, RecursionError) as error:
        raise CorruptFile(path, f"not a note of the best version: {error!r}") from None


def find_snapshot(where: Path, version: Version = "best") -> Path:
    """The snapshot file that `where` and `version` mean.

    `where` is a run's folder, a snapshot file, or the name of an objective of the package.

    `last` is the highest version there; `best` is the one a held-out evaluation picked, else the
    last, with a note in the log. A file is itself, whatever word is asked for; a number must be
    its own. Raises `SnapshotNotFound`, which lists what is there, or `CorruptFile`.
    """
    allowed = "a number, best, last"
    if not isinstance(version, str):
        version = whole_number("version", version, allowed=allowed)
    elif version not in ("best", "last"):
        require(False, "version", version, allowed)
    if is_pretrained(where):
        where = pretrained_file(where)
    if where.is_file():
        return _check_file(where, version)
    there = snapshot_versions(where)
    if not there:
        raise SnapshotNotFound(where, str(version), _nothing_in(where))
    number = version if isinstance(version, int) else _resolve(where, version, there[-1])
    if number not in there:
        raise SnapshotNotFound(where, str(number), _listed(there))
    return snapshot_path(where, number)


def _nothing_in(where: Path) -> str:
    if not where.exists():
        return "no such file or folder"
    runs = sorted(path.parent.name for path in where.glob(f"*/{FOLDER}"))
    return f"no {FOLDER}/ with snapshots" + (f", but {', '.join(runs)} have" if runs else "")


def _check_file(path: Path, version: Version) -> Path:
    if isinstance(version, int):
        found = ObjectiveSnapshot.load(path).version
        if found != version:
            raise SnapshotNotFound(path, str(version), f"version {found}")
    return path


def _resolve(run_dir: Path, word: str, last: int) -> int:
    best = read_best(run_dir) if word == "best" else None
    if best is not None:
        return int(best["version"])
    if word == "best":
        _note_last(run_dir.absolute(), last)  # however the folder is written
    return last


@functools.cache
def _note_last(run_dir: Path, last: int) -> None:
    """Say it once: a command looks the objective up to check it, and again to use it."""
    logger.warning("%s: no best version is recorded, taking the last, %d", run_dir, last)


def _listed(there: list[int]) -> str:
    if len(there) > 12:
        return f"{len(there)} versions from {there[0]} to {there[-1]}, near the end {there[-5:]}"
    return f"versions {', '.join(map(str, there))}" if there else "none"
