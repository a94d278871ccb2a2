"""Who a run is, and on what machine it was recorded: `run.json`."""

from __future__ import annotations

import dataclasses
import platform
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as package_version
from pathlib import Path

from metagenrl.base.checks import UsageError
from metagenrl.base.files.errors import CorruptFile
from metagenrl.base.files.json_file import read_object
from metagenrl.base.process import available_cores
from metagenrl.base.release import commit
from metagenrl.runs.config.yaml import build
from metagenrl.runs.machine.changes import processor
from metagenrl.runs.names import IDENTITY_FILE

_PACKAGES = ("metagenrl", "torch", "ray", "gymnasium", "mujoco", "numpy")


@dataclass(frozen=True)
class RunIdentity:
    """A run's identity; written once, kept on resume."""

    id: str
    created: float  # seconds since the epoch
    machine: str
    versions: Mapping[str, str]  # of packages, and of Python
    processor: str = ""
    cores: int = 0  # 0: not recorded, as before release 0.2
    commit: str = ""  # of the checkout that the run was started from, where there is one
    backends: tuple[str, ...] = ()  # what computed agents' rounds so far, see `note_backend`

    @property
    def surroundings(self) -> dict[str, str]:
        """The surroundings that a run's bits and pace can depend on, where they were recorded."""
        known = {"processor": self.processor, "cores": str(self.cores or "")}
        return dict(self.versions) | {name: value for name, value in known.items() if value}

    @staticmethod
    def new() -> RunIdentity:
        """Of a run that begins in this process."""
        versions = {name: package_version(name) for name in _PACKAGES}
        versions["python"] = platform.python_version()
        return RunIdentity(
            uuid.uuid4().hex[:12],
            time.time(),
            platform.platform(),
            versions,
            processor(),
            available_cores(),
            commit(),
        )


def identity_of(field: str, folder: Path) -> RunIdentity:
    """The identity that a run's folder holds; fields of later releases are passed over.

    Raises `UsageError`, in the name of `field`, where it is missing or damaged.
    """
    path = folder / IDENTITY_FILE
    try:
        values = read_object(path)
        known = [one.name for one in dataclasses.fields(RunIdentity)]
        found = build(RunIdentity, {name: values[name] for name in known if name in values})
        if not found.id:
            raise CorruptFile(path, "id: empty")
        return found
    except ValueError as error:
        why = f"{IDENTITY_FILE} " + ("missing" if not path.exists() else "damaged")
        detail = error.reason if isinstance(error, CorruptFile) else str(error)
        shown = "" if not path.exists() else f": {detail}"
        raise UsageError(
            f"{field}: got {str(folder)!r} ({why}{shown}), allowed: a complete folder of a run"
        ) from error


def read_identity(folder: Path) -> RunIdentity | None:
    """The same, None where it is not there or cannot be read."""
    try:
        return identity_of("run", folder)
    except UsageError:
        return None
