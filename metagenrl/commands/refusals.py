"""What a command must be refused for before anything is started or written.

Everything here looks at the disk or at an environment; what the values alone tell is checked by
the configurations themselves. Errors are `ValueError`s of one line.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from metagenrl.base.checks import UsageError
from metagenrl.base.paths import check_file, check_writable
from metagenrl.commands.objective.show import ShowConfig
from metagenrl.commands.shell.variables import require_importable
from metagenrl.learner.hyperparams import ObjectiveConfig
from metagenrl.learner.native.built import StaleLibraryError, open_library
from metagenrl.objective_server.snapshots.find import snapshot_versions
from metagenrl.objective_server.snapshots.pretrained import PRETRAINED, is_pretrained
from metagenrl.objective_server.store.open import check_store
from metagenrl.runs.config.baselines import BASELINES, require_installed
from metagenrl.runs.config.lone_agents import RANDOM_OBJECTIVE, BaselineConfig, MetaTestConfig
from metagenrl.runs.config.reference import WorkspaceConfig
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import build
from metagenrl.runs.kinds import no_objective, what_is_there
from metagenrl.runs.machine.identity import identity_of
from metagenrl.runs.resume import (
    check_new_folder,
    check_parts,
    check_run_folder,
    training_config,
)

KERNELS_VARIABLE = "METAGENRL_KERNELS"
KERNELS = ("c", "blas", "torch")
"""What the variable may say; `learner.native.library` reads it where torch is imported."""


def check_kernels() -> None:
    """Refuse what the program would stumble over where torch is imported.

    That is an unknown choice of kernels, and a library that is older than its sources.
    """
    choice = os.environ.get(KERNELS_VARIABLE)
    if choice and choice not in KERNELS:
        raise UsageError(f"{KERNELS_VARIABLE}: got {choice!r}, allowed: {', '.join(KERNELS)}")
    if choice != "torch":
        try:
            open_library()
        except StaleLibraryError as error:
            raise UsageError(str(error)) from error


def check_variables(config: Any) -> None:
    """Refuse variables of libraries that would end the command in the middle of its work.

    A command that trains imports torch, and with Ray's engine Ray, in processes of its own; what it
    imports itself is told where that fails.
    """
    if hasattr(config, "run_dir"):
        require_importable("torch")
        if getattr(config, "engine", "") == "ray":
            require_importable("ray")
    if "MPLBACKEND" in os.environ:
        try:
            import matplotlib  # noqa: F401 - looks at it when it is imported
        except ValueError as error:
            value = os.environ["MPLBACKEND"]
            allowed = "a backend of matplotlib, agg for one, or nothing"
            raise UsageError(f"MPLBACKEND: got {value!r}, allowed: {allowed}") from error
    if getattr(config, "wandb", "disabled") != "disabled":
        from metagenrl.tracking.wandb.variables import check_variables

        check_variables()


def check_train(config: TrainConfig) -> None:
    """Refuse a run folder or a store that cannot be used; the environments have been tried."""
    if config.resume is None:
        check_new_folder(config.run_dir, hint=", or --resume with that folder")
    else:
        check_parts(config.resume)
        check_writable("run_dir", config.run_dir)
    resumed = config.resume is not None
    check_store(config.store, config.allow_redis_without_password, resumed)


def check_test(config: MetaTestConfig) -> None:
    """Refuse a padding too small, or a run folder; `resolve` has opened the objective."""
    from metagenrl.agents.environment.trial_process import facts_of
    from metagenrl.baselines.meta_learned import baseline_of_test

    learned = baseline_of_test(config)
    if learned is not None:
        require_installed("objective", learned.algo)
        learned.padding.require_fits(facts_of(config.env))
    check_run_folder(config)


def check_baseline(config: BaselineConfig) -> None:
    """Refuse what is not installed, a padding too small for the environments, or a run folder."""
    from metagenrl.baselines.meta_learned import padding_of

    require_installed("algo", config.algo)
    if BASELINES[config.algo].meta_learner:
        padding_of(config)
    check_run_folder(config)


def check_show(config: ShowConfig) -> None:
    """Refuse what holds no objective; whether it is damaged, reading it will tell."""
    file = config.file
    if file.is_file() or is_pretrained(file) or snapshot_versions(file):
        return
    run = what_is_there(file)
    if run is not None:
        what = f"{run}, and has no objectives/ with snapshots"
    else:
        what = "no objective in it" if file.is_dir() else "no such file"
    raise UsageError(
        f"file: got {str(file)!r} ({what}), allowed: an objective's snapshot file, the folder of a "
        f"run of `metagenrl train`, {PRETRAINED}"
    )


def check_workspace(config: WorkspaceConfig) -> None:
    """Refuse a folder that holds no run, and where there is nowhere to put the workspace."""
    training_config(config.run)
    if config.out is None and not config.entity:
        raise UsageError("entity: missing, allowed: an account at Weights & Biases, or --out FILE")
    if config.out is not None:
        check_file("out", config.out)
    identity_of("run", config.run)


def snapshot_architecture(config: MetaTestConfig) -> ObjectiveConfig:
    """The architecture of the objective to be tested.

    Raises `UsageError` where there is no such objective, or its file is damaged or of another
    program version.
    """
    from metagenrl.objective_server.snapshots.find import find_snapshot
    from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot

    try:
        path = find_snapshot(Path(config.objective), config.wanted)
        return build(ObjectiveConfig, ObjectiveSnapshot.load(path).config)
    except ValueError as error:
        more = f", {RANDOM_OBJECTIVE}"
        raise no_objective(error, Path(config.objective), config.objective, more) from error
