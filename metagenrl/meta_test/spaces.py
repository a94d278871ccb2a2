"""Whether agents that go on still fit their environments."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from metagenrl.base.checks import UsageError
from metagenrl.base.files.checkpoint_folder import newest_complete, read_folder
from metagenrl.runs.agent_job import TraineeJob

_PART = "spaces"


def spaces_part(job: TraineeJob) -> dict[str, dict[str, Any]]:
    """The part of a checkpoint that says how large the environments are; none where unknown."""
    return {_PART: {"sizes": [list(each) for each in job.sizes]}} if job.sizes else {}


def require_known_spaces(jobs: Iterable[TraineeJob]) -> None:
    """Refuse an environment whose sizes have changed since an agent began.

    Its networks and experience would not fit. Raises `UsageError`.
    """
    for job in jobs:
        newest = newest_complete(job.checkpoints)
        if newest is None:
            continue
        try:
            began = read_folder(newest, [_PART])[_PART]["sizes"]
        except ValueError:  # no such part, or damaged, which the process of the agent says
            continue
        for env, now, then in zip(job.environments, job.sizes, began, strict=False):
            if now != tuple(then):
                raise UsageError(
                    f"resume: got {str(Path(job.folder).parent)!r} ({env} has {now[0]} "
                    f"observations and {now[1]} actions now, seed {job.seed} began with "
                    f"{then[0]} and {then[1]}), allowed: the environment that the run began with"
                )
