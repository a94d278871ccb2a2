"""The policies that meta-learners leave in `seeds/`, one folder for each seed."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metagenrl.base.files.checkpoint_folder import newest_complete, read_folder, write_folder

_PART, _NAME = "policy", "final"


def write_policy(folder: Path, state: Mapping[str, Any]) -> None:
    """Write a policy to `folder`, replacing what is there. Raises `OSError` on a full disk."""
    shutil.rmtree(folder, ignore_errors=True)
    write_folder(folder, _NAME, {_PART: state})


def policy_folders(folder: Path) -> list[Path]:
    """The complete policies of a run's `seeds/`, or of a meta-test's copy, by seed."""
    found = {int(p.stem.removeprefix("seed-")): p for p in folder.glob("seed-*.policy")}
    complete = [newest_complete(found[seed]) for seed in sorted(found)]
    return [path for path in complete if path is not None]


def read_policy(folders: Sequence[Path], seed: int) -> dict[str, Any]:
    """The policy that the agent of `seed` tests: seed modulo their number.

    Raises `CorruptFile`.
    """
    return read_folder(folders[seed % len(folders)])[_PART]
