"""A run's folder: identity, configuration, log file, store and checkpoints.

config.yaml      complete configuration, reproduces the run
run.json         identity, versions, machine, what it was resumed from
metrics.jsonl    one row per agent and interval, one per objective version, events
objectives/      alpha by version
server/          the objective server's newest committed state
checkpoints/     everything, by round
left/            the states of agents that left when the population shrank
control.json     where the run can be reached while it goes on (see `reach`)
run.log          what was logged
curves.png       the population's curves
"""

from __future__ import annotations

import itertools
import json
import logging
import platform
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import to_yaml
from metagenrl.commands.refusals import CONFIG_FILE
from metagenrl.base.files.atomic import write_atomic
from metagenrl.base.files.checkpoint_folder import newest_complete, prune, read_folder, write_folder

IDENTITY_FILE = "run.json"
CHECKPOINTS = "checkpoints"
_PACKAGES = ("metagenrl", "torch", "ray", "gymnasium", "mujoco", "numpy")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunIdentity:
    """Who a run is; written once, kept on resume."""

    id: str
    created: float  # seconds since the epoch
    machine: str
    versions: dict[str, str]


def open_run(config: TrainConfig) -> RunIdentity:
    """Create the folder, or take over the identity of the one that is resumed."""
    return open_folder(config.run_dir, to_yaml(config), config.resume is not None)


def open_folder(folder: Path, config: str, resumed: bool) -> RunIdentity:
    """The same for the configuration of any command that trains, as YAML."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / IDENTITY_FILE
    if resumed and path.exists():
        identity = RunIdentity(**json.loads(path.read_text()))
    else:
        versions = {name: package_version(name) for name in _PACKAGES}
        identity = RunIdentity(uuid.uuid4().hex[:12], time.time(), platform.platform(), versions)
        write_atomic(path, [json.dumps(asdict(identity), indent=2).encode()], durable=True)
    write_atomic(folder / CONFIG_FILE, [config.encode()], durable=True)
    return identity


class _LogFile(logging.FileHandler):
    """A file that may be on a full disk: the terminal still has what it misses."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Swallow it."""


def log_to(folder: Path) -> logging.Handler:
    """Send the program's log to `run.log` as well."""
    handler = _LogFile(folder / "run.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger("metagenrl")
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    return handler


def agent_part(agent: int) -> str:
    """Name of an agent's state within a checkpoint."""
    return f"agent-{agent:04d}"


class LazyParts(Mapping[str, Mapping[str, Any]]):
    """States that are fetched one at a time while a checkpoint is written: replay is large."""

    def __init__(self, fetch: Mapping[str, Callable[[], Mapping[str, Any]]]) -> None:
        self._fetch = fetch

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        return self._fetch[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._fetch)

    def __len__(self) -> int:
        return len(self._fetch)


class Checkpoints:
    """The complete states of a run, by round."""

    def __init__(self, run_dir: Path, keep: int) -> None:
        self._folder, self._keep = run_dir / CHECKPOINTS, keep

    def save(
        self,
        round_index: int,
        fetch: Mapping[str, Callable[[], Mapping[str, Any]]],
        again: bool = False,
    ) -> bool:
        """Write one; a full disk is logged and tried again at the next, training goes on.

        `again`: beside the round's own, since something other than a round changed the state.
        """
        name = f"round-{round_index:09d}"
        if again:
            names = itertools.chain([name], (f"{name}-{count}" for count in itertools.count(1)))
            name = next(free for free in names if not (self._folder / free).exists())
        try:
            write_folder(self._folder, name, LazyParts(fetch))
            prune(self._folder, self._keep)
        except FileExistsError:
            return True
        except OSError as error:
            logger.error("checkpoint failed: %s", (error.strerror or str(error)).lower())
            return False
        return True

    def require_sound(self) -> None:
        """Raise `ValueError` where there are checkpoints and none can be used.

        Without this a resumed run would begin again from nothing.
        """
        there = list(self._folder.glob("round-*"))
        if there and newest_complete(self._folder) is None:
            raise ValueError(
                f"resume: got '{self._folder.parent}' (none of its {len(there)} checkpoints is "
                "complete and undamaged), allowed: a run with a sound checkpoint, or with none yet"
            )

    def load(self, parts: list[str] | None = None) -> dict[str, dict[str, Any]] | None:
        """The newest complete checkpoint's states, or None where there is none."""
        path = newest_complete(self._folder)
        if path is None:
            return None
        if parts is None:
            logger.info("going on from %s", path.name)
        return read_folder(path, parts)
