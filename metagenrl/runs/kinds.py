"""What a folder holds, in words: for the command that was given one of another command's."""

from __future__ import annotations

from pathlib import Path

from metagenrl.base.checks import UsageError
from metagenrl.objective_server.snapshots.pretrained import PRETRAINED
from metagenrl.runs.config.yaml_file import load_mapping
from metagenrl.runs.names import CONFIG_FILE


def kind_of(folder: Path) -> str | None:
    """`meta-training`, `epg`, `test`, `baseline` or `other`; None where there is no run.

    Raises `UsageError` where the configuration cannot be read.
    """
    if not (folder / CONFIG_FILE).is_file():
        return None
    values = load_mapping(folder / CONFIG_FILE, "run")
    if values.get("algo") == "epg":
        return "epg"
    if "algo" in values:
        return "baseline"
    if "objective" in values and "env" in values:
        return "test"
    return "meta-training" if "env" not in values else "other"


_HINTS = {
    "meta-training": "a run of `metagenrl train`, which goes on with --resume DIR",
    "epg": "a run of `metagenrl baseline --algo epg`, which goes on with --resume --run-dir",
    "baseline": "a run of `metagenrl baseline`, which goes on with --resume --run-dir",
    "test": "a run of `metagenrl test`, which goes on with --resume --run-dir",
    "other": "a run of another program",
}


def described(folder: Path) -> str:
    """The kind of the run in a folder, and the command that goes on with it."""
    return _HINTS[kind_of(folder) or "other"]


def what_is_there(folder: Path) -> str | None:
    """The kind of the run in a folder, None where there is no run that can be read."""
    try:
        kind = kind_of(folder)
    except UsageError:
        return None
    return None if kind is None else _HINTS[kind]


def require_meta_training(field: str, folder: Path) -> None:
    """Raise `UsageError`, which says what the folder is, for a run of another command.

    A folder that holds no run is left to others.
    """
    kind = kind_of(folder) or "meta-training"
    if kind != "meta-training":
        hint = _HINTS[kind]
        raise UsageError(
            f"{field}: got {str(folder)!r} ({hint}), allowed: a run of `metagenrl train`"
        )


def no_objective(
    error: ValueError | OSError, where: Path, shown: str, more: str = ""
) -> UsageError:
    """What is said where no objective could be read in `where`: what a folder is instead, or why.

    `shown` is what the user wrote, `more` is what is allowed besides.
    """
    try:
        if kind_of(where) != "epg":  # such runs hold objectives, too
            require_meta_training("objective", where)
    except UsageError as other:
        return other
    allowed = f"a run folder, a snapshot file, {PRETRAINED}{more}"
    reason = " ".join(str(error).splitlines())  # a path may have several
    return UsageError(f"objective: got {shown!r} ({reason}), allowed: {allowed}")
