"""What the commands that reach a running population need to know."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from metagenrl.base.checks import require
from metagenrl.objective_server.store.address import StoreAddress
from metagenrl.runs.config.train import StoreOption


@dataclass(frozen=True, kw_only=True)
class RunReference:
    """A run, and how to reach it."""

    run: Positional[str]
    """Folder of the run, or its id (in run.json) where that folder is on another machine."""
    store: StoreOption = field(default_factory=StoreAddress)
    """The run's Redis; `file`: the one that its folder names, else none."""
    ray_address: str | None = None
    """HOST:PORT of the run's Ray cluster; None: as the folder says, else RAY_ADDRESS."""
    timeout: float = 600.0
    """Seconds to wait for an answer."""

    def __post_init__(self) -> None:
        require(
            self.timeout > 0 and math.isfinite(self.timeout),
            "timeout",
            self.timeout,
            "a finite number > 0",
        )


@dataclass(frozen=True, kw_only=True)
class ScaleConfig(RunReference):
    """Change the number of agents of a run that is going on."""

    agents: int
    """Agents it shall have. New ones start afresh with the present objective."""
    rejoin: bool = False
    """Let agents that left come back as they were, where there are such."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.agents >= 1, "agents", self.agents, "a whole number >= 1")


@dataclass(frozen=True, kw_only=True)
class StatusConfig(RunReference):
    """Show how a run that is going on is doing."""


@dataclass(frozen=True, kw_only=True)
class PauseConfig(RunReference):
    """Let a run wait after the round it is in."""


@dataclass(frozen=True, kw_only=True)
class ResumeConfig(RunReference):
    """Let a paused run go on (one that has ended: train --resume)."""


@dataclass(frozen=True, kw_only=True)
class StopConfig(RunReference):
    """End a run after the round it is in, with a checkpoint."""


CONTROL_CONFIGS: dict[str, type[RunReference]] = {
    "scale": ScaleConfig,
    "status": StatusConfig,
    "pause": PauseConfig,
    "resume": ResumeConfig,
    "stop": StopConfig,
}
"""By command."""


@dataclass(frozen=True, kw_only=True)
class WorkspaceConfig:
    """Save the Weights & Biases workspace that shows a run's population."""

    run: Positional[Path]
    """Run folder; its environments and agents decide which panels there are."""
    entity: str = ""
    """Account or team at Weights & Biases that gets the workspace."""
    project: str = "metagenrl"
    """Project of the run."""
    out: Path | None = None
    """File for the workspace's definition instead of saving it; needs no account."""
