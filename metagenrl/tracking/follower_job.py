"""What a process that follows a run's rows needs to know, as one message that fits on a line."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Tracker = Literal["wandb", "tensorboard"]


@dataclass(frozen=True)
class FollowerJob:
    """One tracker of one run."""

    tracker: Tracker
    run_dir: str
    run: str  # the run's id
    agents: int
    config: dict[str, Any]  # of the run
    mode: str = "offline"  # of Weights & Biases
    per_agent: bool = False

    @property
    def folder(self) -> Path:
        """Where the tracker's files lie."""
        return Path(self.run_dir) / self.tracker

    @property
    def log(self) -> Path:
        """What its process says; lines after `process.SAYS` are for the user."""
        return self.folder / "follower.log"

    def to_json(self) -> str:
        """The job on one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str | bytes) -> FollowerJob:
        """Undo `to_json`."""
        return cls(**json.loads(line))
