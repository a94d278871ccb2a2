"""What a command must be refused for before anything is started or written.

Everything here looks at the disk or at an environment; what the values alone tell is checked by
the configurations themselves. Errors are `ValueError`s of one line.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metagenrl.runs.config.algorithms import TRAITS
from metagenrl.runs.config.train import ShowConfig, TrainConfig, UsageError, WorkspaceConfig
from metagenrl.runs.config.yaml import build, load_mapping, to_dict
from metagenrl.runs.config.lone_agents import RANDOM_OBJECTIVE, BaselineConfig, MetaTestConfig
from metagenrl.objective_server.store.open import check_store
from metagenrl.learner.hyperparams import ObjectiveConfig

CONFIG_FILE = "config.yaml"
"""A folder that holds this file is a run."""

RESUME_MAY_CHANGE = frozenset(
    {
        "run_dir",
        "resume",
        "engine",
        "checkpoint_every",
        "keep_checkpoints",
        "log_every",
        "wandb",
        "max_restarts",
        "round_timeout",
        "agent_cpus",
        "agents_per_actor",
        "stacked",
        "device",
        "fused",
        "env_workers",
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

EVALUATION_RESUME_MAY_CHANGE = frozenset({"run_dir", "resume", "workers", "wandb"})
"""The same for meta-tests and baselines; `run_dir` may be written differently or have moved."""


def check_train(config: TrainConfig) -> None:
    """Refuse unknown or unsupported environments and a run folder that cannot be used."""
    for env in dict.fromkeys(config.envs):
        check_environment_of("envs", env)
    for env in config.held_out.eval_envs:
        check_environment_of("eval_envs", env)
    if config.resume is None:
        _check_new_folder(config.run_dir, hint=", or --resume with that folder")
    else:
        check_writable("run_dir", config.run_dir)
    resumed = config.resume is not None
    check_store(config.store, config.allow_redis_without_password, resumed)


def check_test(config: MetaTestConfig) -> None:
    """Refuse an unusable environment or run folder; `resolve` has opened the objective."""
    from metagenrl.agents.environment.spec import check_environment
    from metagenrl.baselines.meta_learned import meta_learned

    check_environment_of("env", config.env)
    learned = meta_learned(Path(config.objective))
    if learned is not None:
        learned.padding.require_fits(check_environment(config.env))
    check_run_folder(config)


def check_baseline(config: BaselineConfig) -> None:
    """Refuse unusable environments, a padding too small for them, or a run folder."""
    from metagenrl.baselines.meta_learned import padding_of

    for env in dict.fromkeys(config.environments):
        check_environment_of("envs" if config.envs else "env", env)
    if TRAITS[config.algo].meta_learner:
        padding_of(config)
    check_run_folder(config)


def check_show(config: ShowConfig) -> None:
    """Refuse a path that is no file; what is in it, reading it will tell."""
    if not config.file.is_file():
        raise UsageError(f"file: got {str(config.file)!r}, allowed: an objective's snapshot file")


def check_workspace(config: WorkspaceConfig) -> None:
    """Refuse a folder that holds no run, and where there is nowhere to put the workspace."""
    training_config(config.run)
    if config.out is None and not config.entity:
        raise UsageError("entity: missing, allowed: an account at Weights & Biases, or --out FILE")
    if config.out is not None and not config.out.absolute().parent.is_dir():
        raise UsageError(f"out: got {str(config.out)!r}, allowed: a file in a folder that exists")


def check_is_run(field: str, folder: Path) -> None:
    """Refuse a folder that holds no run."""
    if not (folder / CONFIG_FILE).is_file():
        raise UsageError(
            f"{field}: got {str(folder)!r} (no {CONFIG_FILE} in it), allowed: the folder of a run"
        )


def training_config(run: Path) -> TrainConfig:
    """The configuration of a meta-training run. Raises `UsageError` for anything else."""
    check_is_run("run", run)
    values = load_mapping(run / CONFIG_FILE, "run")
    if "envs" not in values or "algo" in values:  # a baseline of a meta-learner has both
        raise UsageError(f"run: got {str(run)!r} (no meta-training), allowed: a run of `train`")
    return build(TrainConfig, values)


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
    stored = build(TrainConfig, load_mapping(resume / CONFIG_FILE, "resume"))
    if config.steps < stored.steps:
        raise UsageError(
            f"steps: got {config.steps}, allowed: at least {stored.steps}, as in {resume}"
        )
    _check_unchanged(config, stored, RESUME_MAY_CHANGE | {"steps"})


def check_run_folder(
    config: Any, may_change: frozenset[str] = EVALUATION_RESUME_MAY_CHANGE
) -> None:
    """A new folder or, with --resume, one of the same command and but for `may_change` equal."""
    if not config.resume:
        _check_new_folder(config.run_dir, hint=", or --resume")
        return
    check_is_run("run_dir", config.run_dir)
    check_writable("run_dir", config.run_dir)
    try:
        stored = build(type(config), load_mapping(config.run_dir / CONFIG_FILE, "run_dir"))
    except ValueError as error:
        raise UsageError(
            f"run_dir: got {str(config.run_dir)!r} (of another command: {error}), allowed: the "
            "folder of the command that is resumed"
        ) from error
    _check_unchanged(config, stored, may_change)


def _check_unchanged(config: Any, stored: Any, may_change: frozenset[str]) -> None:
    before = dict(leaves(to_dict(stored)))
    for name, value in leaves(to_dict(config)):
        if name not in may_change and value != before[name]:
            raise UsageError(
                f"{name}: got {value!r}, allowed: {before[name]!r}, as in the run being resumed"
            )


def snapshot_architecture(config: MetaTestConfig) -> ObjectiveConfig:
    """The architecture of the objective to be tested.

    Raises `UsageError` where there is no such objective, or its file is damaged or of another
    program version.
    """
    from metagenrl.objective_server.snapshots.find import find_snapshot
    from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot

    try:
        path = find_snapshot(Path(config.objective), config.requested_version)
        return build(ObjectiveConfig, ObjectiveSnapshot.load(path).config)
    except ValueError as error:
        raise UsageError(
            f"objective: got {config.objective!r} ({error}), allowed: a run folder, a snapshot "
            f"file, {RANDOM_OBJECTIVE}"
        ) from error


def check_environment_of(field: str, env: str) -> None:
    """Refuse an environment that is unknown or not supported, in the name of `field`."""
    from metagenrl.agents.environment.spec import check_environment  # gymnasium takes a while to import

    try:
        check_environment(env)
    except ValueError as error:
        raise UsageError(f"{field}: {str(error).removeprefix('environment: ')}") from error


def _check_new_folder(folder: Path, hint: str = "") -> None:
    if (folder / CONFIG_FILE).exists():
        raise UsageError(
            f"run_dir: got {str(folder)!r} (holds another run), allowed: a new folder{hint}"
        )
    check_writable("run_dir", folder)


def check_writable(field: str, folder: Path) -> None:
    """Refuse a folder that cannot be written to, in the name of `field`.

    Tried in the nearest folder that exists, with a file that has no name and leaves nothing.
    """
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise UsageError(
            f"{field}: got {str(folder)!r} ({error.strerror}: {nearest}), allowed: a folder that "
            "can be written to"
        ) from error


def leaves(mapping: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of every field in a nested mapping."""
    for name, value in mapping.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
