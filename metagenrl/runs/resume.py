"""What may change when a run is resumed, and the run folders that a command must refuse."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metagenrl.base.checks import UsageError
from metagenrl.base.files.checkpoint_folder import read_folder
from metagenrl.base.files.folder_lock import LOCK_FILE
from metagenrl.base.paths import check_writable
from metagenrl.runs.config.paths import absolute
from metagenrl.runs.config.stored import stored_config, stored_values
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import build, to_dict
from metagenrl.runs.folder import check_is_run
from metagenrl.runs.kinds import described, require_meta_training
from metagenrl.runs.machine.identity import identity_of
from metagenrl.runs.metrics_file import rows_of_kind
from metagenrl.runs.names import CHECKPOINTS, CONFIG_FILE, IDENTITY_FILE, METRICS_FILE, RUN_FILES
from metagenrl.runs.rows import EventRow

logger = logging.getLogger(__name__)

RESUME_MAY_CHANGE = frozenset(
    {
        "run_dir",
        "resume",
        "take_over",
        "engine",
        "worker_start",
        "checkpoint_every",
        "keep_checkpoints",
        "log_every",
        "wandb",
        "max_restarts",
        "round_timeout",
        "agent_cpus",
        "cluster_cpus",
        "cluster_wait",
        "agents_per_actor",
        "backend",
        "device",
        "env_workers",
        "env_timeout",
        "env_start_timeout",
        "held_out.eval_workers",
        "held_out.eval_timeout",
        "held_out.eval_patience",
        "tracking.wandb_per_agent",
        "tracking.tensorboard",
        "store",
        "allow_redis_without_password",
    }
)
"""Fields that decide how a run is executed and not what it computes."""

EVALUATION_RESUME_MAY_CHANGE = frozenset(
    {"run_dir", "resume", "take_over", "workers", "wandb", "env_start_timeout"}
)
"""The same for meta-tests and baselines; `run_dir` may be written differently or have moved."""


_ENVIRONMENTS = frozenset({"env", "envs", "held_out.eval_envs"})


def training_config(run: Path) -> TrainConfig:
    """The configuration of a meta-training run. Raises `UsageError` for anything else."""
    check_is_run("run", run)
    require_meta_training("run", run)
    return stored_config(TrainConfig, run / CONFIG_FILE, "run")


def check_resume(config: TrainConfig, resume: Path) -> None:
    """Refuse to go on with a run of another configuration.

    `steps` may grow, and `RESUME_MAY_CHANGE` may be anything; the first other field that differs
    is named with both values.
    """
    if config.run_dir.resolve() != resume.resolve():
        raise UsageError(
            f"run_dir: got {str(config.run_dir)!r}, allowed: {str(resume)!r}, the folder that "
            "--resume goes on with"
        )
    stored = stored_config(TrainConfig, resume / CONFIG_FILE, "resume")
    if config.steps < stored.steps:
        raise UsageError(
            f"steps: got {config.steps}, allowed: at least {stored.steps}, as in {resume}"
        )
    _check_unchanged(config, stored, RESUME_MAY_CHANGE | {"steps"})


def check_parts(run: Path) -> None:
    """Refuse to go on with a run of `train` whose parts are missing or another's, naming them.

    A run that was cut off before its first checkpoint has none.
    """
    missing = [] if (run / IDENTITY_FILE).is_file() else [IDENTITY_FILE]
    saved = any((run / CHECKPOINTS).glob("round-*"))
    rows = (run / METRICS_FILE).is_file()
    if saved and not rows:
        missing.append(METRICS_FILE)
    if not saved and rows and _has_saved(run):
        missing.append(f"{CHECKPOINTS}/")
    if missing:
        raise UsageError(
            f"resume: got {str(run)!r} ({', '.join(missing)} missing), allowed: a complete folder "
            "of a run"
        )
    own = identity_of("resume", run).id
    for checkpoint in sorted((run / CHECKPOINTS).glob("round-*")):
        of = _saved_by(checkpoint)
        if of not in (None, own):
            raise UsageError(
                f"resume: got {str(run)!r} ({CHECKPOINTS}/{checkpoint.name} is of run {of}, "
                f"{IDENTITY_FILE} of {own}), allowed: a folder whose parts are of one run"
            )


def _saved_by(checkpoint: Path) -> str | None:
    """The run that a checkpoint is of; None where it is damaged, which loading it tells."""
    try:
        return str(read_folder(checkpoint, ["server"])["server"]["run"])
    except (ValueError, OSError):
        return None


def _has_saved(run: Path) -> bool:
    """Whether its rows tell of a checkpoint."""
    return any(
        isinstance(row, EventRow) and row.what == "checkpoint"
        for row in rows_of_kind(run / METRICS_FILE, "event")
    )


def check_run_folder(
    config: Any, may_change: frozenset[str] = EVALUATION_RESUME_MAY_CHANGE
) -> None:
    """A new folder or, with --resume, one of the same command and but for `may_change` equal."""
    if not config.resume:
        check_new_folder(config.run_dir, hint=", or --resume")
        return
    check_is_run("run_dir", config.run_dir)
    check_writable("run_dir", config.run_dir)
    try:
        values = stored_values(type(config), config.run_dir / CONFIG_FILE, "run_dir")
        stored = absolute(build(type(config), values))
    except ValueError as error:
        raise UsageError(
            f"run_dir: got {str(config.run_dir)!r} ({described(config.run_dir)}; {error}), "
            "allowed: the folder of the command that is resumed"
        ) from error
    _check_unchanged(config, stored, may_change)


def _check_unchanged(config: Any, stored: Any, may_change: frozenset[str]) -> None:
    before = dict(leaves(to_dict(stored)))
    for name, value in leaves(to_dict(config)):
        if name in may_change or value == before[name]:
            continue
        if name not in _ENVIRONMENTS or not _same_environments(value, before[name]):
            raise UsageError(
                f"{name}: got {value!r}, allowed: {before[name]!r}, as in the run being resumed"
            )


def _same_environments(given: Any, stored: Any) -> bool:
    """Whether Gymnasium takes them for the same ones; older releases stored ids as typed."""
    from metagenrl.agents.environment.make import same_environment  # slow to import

    pairs = [([one] if isinstance(one, str) else one) for one in (given, stored)]
    return len(pairs[0]) == len(pairs[1]) and all(map(same_environment, *pairs))


_SHOWN = 3


def check_new_folder(folder: Path, hint: str = "") -> None:
    """Refuse a folder that holds a run, or files of the names that a run writes."""
    if (folder / CONFIG_FILE).exists():
        raise UsageError(
            f"run_dir: got {str(folder)!r} (holds another run), allowed: a new folder{hint}"
        )
    check_writable("run_dir", folder)
    there = sorted(os.listdir(folder)) if folder.is_dir() else []
    taken = [name for name in there if name in RUN_FILES]
    if taken:
        raise UsageError(
            f"run_dir: got {str(folder)!r} (holds {', '.join(taken)}, which a run would write), "
            "allowed: a new folder"
        )
    others = [name for name in there if not name.startswith(".") and name != LOCK_FILE]
    if others:
        _note_others(folder.absolute(), tuple(others))


@functools.cache
def _note_others(folder: Path, names: tuple[str, ...]) -> None:
    """Say once that a run's files go beside somebody's own."""
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    logger.warning("note: %s has other files (%s), which stay as they are", folder, shown)


def leaves(mapping: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of every field in a nested mapping."""
    for name, value in mapping.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
