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

import json
import logging
import shlex
from dataclasses import asdict
from pathlib import Path

from metagenrl.base.checks import UsageError
from metagenrl.base.files.atomic import write_atomic
from metagenrl.base.files.json_file import read_object
from metagenrl.objective_server.snapshots.pretrained import is_pretrained, pretrained_file
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import to_yaml
from metagenrl.runs.kinds import kind_of
from metagenrl.runs.machine.changes import changes
from metagenrl.runs.machine.identity import RunIdentity, identity_of
from metagenrl.runs.names import CONFIG_FILE, IDENTITY_FILE

_RUN_DEPTH = 2  # folders between a snapshot and its run: RUN_DIR/objectives/FILE


logger = logging.getLogger(__name__)


def open_run(config: TrainConfig, new: RunIdentity | None = None) -> RunIdentity:
    """Create the folder, or take over the identity of the one that is resumed.

    Says in one line what is different from where that one began. `new` is a new run's identity.
    """
    resumed = config.resume is not None
    identity = open_folder(config.run_dir, to_yaml(config), resumed, new)
    changed = changes(identity.surroundings, RunIdentity.new().surroundings)
    if resumed and changed is not None:
        print(changed, flush=True)
    return identity


def open_folder(
    folder: Path, config: str, resumed: bool, new: RunIdentity | None = None
) -> RunIdentity:
    """The same for the configuration of any command that trains, as YAML."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / IDENTITY_FILE
    if resumed and path.exists():
        identity = identity_of("resume", folder)
    else:
        identity = new or RunIdentity.new()
        write_atomic(path, [json.dumps(asdict(identity), indent=2).encode()], durable=True)
    write_atomic(folder / CONFIG_FILE, [config.encode()], durable=True)
    return identity


def note_backend(folder: Path, name: str) -> None:
    """Record that `name` computes rounds of this run, in `run.json`."""
    path = folder / IDENTITY_FILE
    values = read_object(path)
    if name not in values.get("backends", ()):
        values["backends"] = [*values.get("backends", ()), name]
        write_atomic(path, [json.dumps(values, indent=2).encode()], durable=True)


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


_LISTED = 5  # runs that a message names


def check_is_run(field: str, folder: Path) -> None:
    """Refuse a folder that holds no run, saying what is there."""
    if not (folder / CONFIG_FILE).is_file():
        raise UsageError(
            f"{field}: got {str(folder)!r} ({_no_run(folder)}), allowed: the folder of a run"
        )


def _no_run(folder: Path) -> str:
    if not folder.is_dir():
        return "a file" if folder.exists() else "no such folder"
    runs = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG_FILE}"))
    listed = f"{', '.join(runs[:_LISTED])}{', …' if len(runs) > _LISTED else ''}"
    return f"no {CONFIG_FILE} in it" + (f", but in {listed}" if runs else "")


def run_of(objective: Path) -> Path | None:
    """The run folder that an objective is, or that it was made in; None where there is none.

    A copy, as the folder of a meta-test keeps one, was made elsewhere.
    """
    if is_pretrained(objective):
        return None
    absolute = objective.absolute()
    if (absolute / CONFIG_FILE).is_file():
        return absolute
    around = (path for path in absolute.parents[:_RUN_DEPTH] if (path / CONFIG_FILE).is_file())
    return next((path for path in around if kind_of(path) in ("meta-training", "epg")), None)


def training_file_of(objective: Path) -> Path | None:
    """The configuration of the meta-training that an objective came from, None where it is lost.

    It is the run's, or the `.yaml` beside a snapshot that stands alone, as those of the package do.
    Raises `UsageError` for an objective of the package that is not there.
    """
    run = run_of(objective)
    if run is not None:
        return run / CONFIG_FILE
    file = pretrained_file(objective) if is_pretrained(objective) else objective
    beside = file.with_suffix(".yaml")
    return beside if file.suffix == ".safetensors" and beside.is_file() else None


def resume_command(run_dir: Path | str) -> str:
    """To go on with a run that has ended."""
    return f"metagenrl train --resume {shlex.quote(str(run_dir))}"
