"""`metagenrl explain OBJECTIVE`: what it is told, what it refuses, and what it does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from metagenrl.analysis.explain.config import ExplainConfig
from metagenrl.base.checks import UsageError
from metagenrl.base.paths import check_writable
from metagenrl.commands.environments import with_tried
from metagenrl.commands.parsing import parse
from metagenrl.runs.config.yaml import build
from metagenrl.runs.kinds import no_objective, require_meta_training


def explain_config(argv: Sequence[str]) -> ExplainConfig:
    """The configuration of `metagenrl explain`. Raises `UsageError`."""
    return with_tried(build(ExplainConfig, parse(ExplainConfig, argv)))


def check_explain(config: ExplainConfig) -> None:
    """Refuse what is no objective, has no trajectories, or cannot be written."""
    from metagenrl.objective_server.snapshots.find import find_snapshot
    from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot

    if config.run is not None:
        require_meta_training("objective", config.run)
    try:
        ObjectiveSnapshot.load(find_snapshot(config.objective, config.wanted))
    except ValueError as error:
        raise no_objective(error, config.objective, str(config.objective)) from error
    if config.env is None and config.run is None:
        raise UsageError("env: missing (the file lies in no run), allowed: an environment's id")
    if config.env is None and config.run is not None and not _has_checkpoints(config.run):
        raise UsageError(
            f"env: missing ({str(config.run)!r} has no checkpoints), allowed: an environment's id"
        )
    check_writable("out", config.folder)


def _has_checkpoints(run: Path) -> bool:
    return (run / "checkpoints").is_dir()


def explain(config: ExplainConfig) -> int:
    """Write the explanation and print its text; 0."""
    import torch

    from metagenrl.analysis.explain.assemble import make_explanation

    torch.set_num_threads(1)  # minibatches are small: more threads wait for each other
    text, folder = make_explanation(config)
    print(f"{text}\npictures and this text: {folder}")
    return 0
