"""What metagenrl explain is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from metagenrl.base.checks import require, seed_range
from metagenrl.objective_server.snapshots.version import Version, version_of
from metagenrl.runs.config.presets import DEFAULT_PRESET, PresetName
from metagenrl.runs.folder import run_of

FOLDER = "explain"


DEFAULT_STEPS = 5_000


@dataclass(frozen=True)
class ExplainConfig:
    """Say what a learned objective has learned, in numbers and pictures."""

    objective: Positional[Path]
    """Folder of a meta-training run, a snapshot file, or `pretrained[:NAME]`."""
    version: str = "best"
    """Version of alpha within a run's folder: a number, `best` or `last`."""
    env: str | None = None
    """Train a new agent here for its trajectories; None: the run's stored ones."""
    steps: int | None = None
    """Steps of the new agent (5 000); only with --env."""
    preset: PresetName | None = None
    """Hyper-parameters of the new agent where no run tells them (small); only with --env."""
    agents: int = 4
    """Agents of each environment whose stored trajectories are looked at, at most."""
    minibatches: int = 4
    """Minibatches of trajectory segments from each agent."""
    versions: int = 10
    """Snapshots of the run that show how it changed, spread evenly; 0: none."""
    seed: int = 0
    """Seed of the minibatches, and of the new agent."""
    out: Path | None = None
    """Folder of text and pictures; None: `explain` in the run's folder, or beside the file."""

    def __post_init__(self) -> None:
        version_of(self.version)
        for name in ("agents", "minibatches"):
            value = getattr(self, name)
            require(value >= 1, name, value, "a whole number >= 1")
        require(self.versions >= 0, "versions", self.versions, "a whole number >= 0")
        seed_range("seed", self.seed)
        for name in ("steps", "preset"):
            value = getattr(self, name)
            require(value is None or self.env is not None, name, value, "only with --env")
        require(self.steps is None or self.steps >= 1, "steps", self.steps, "a whole number >= 1")

    @property
    def wanted(self) -> Version:
        """`version` as `find_snapshot` takes it."""
        return version_of(self.version)

    @property
    def run(self) -> Path | None:
        """The run that the objective belongs to, if its folder is there."""
        return run_of(self.objective)

    @property
    def folder(self) -> Path:
        """Where everything is written."""
        home = self.run or (
            self.objective if self.objective.is_dir() else self.objective.absolute().parent
        )
        return home / FOLDER if self.out is None else self.out

    @property
    def new_steps(self) -> int:
        """Steps of the new agent."""
        return DEFAULT_STEPS if self.steps is None else self.steps

    @property
    def new_preset(self) -> PresetName:
        """Preset of the new agent."""
        return DEFAULT_PRESET if self.preset is None else self.preset
