"""Which objective a meta-test goes on with: the one in its folder, wherever it came from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metagenrl.base.paths import user_path
from metagenrl.baselines.meta_learned import meta_learned
from metagenrl.objective_server.snapshots.find import find_snapshot
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.objective_server.snapshots.version import version_of
from metagenrl.runs.config.lone_agents import MetaTestConfig
from metagenrl.runs.config.paths import absolute_objective
from metagenrl.runs.config.stored import stored_config
from metagenrl.runs.names import CONFIG_FILE, COPY_FILE, POLICIES_FOLDER


def without_kept_objective(given: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """`given` without an objective of which the meta-test in `folder` has the copy.

    It may have moved, and may be the copy itself.
    """
    text = given.get("objective")
    stored = stored_config(MetaTestConfig, folder / CONFIG_FILE, "run_dir")
    if not isinstance(text, str) or absolute_objective(text) == stored.objective:
        return dict(given)
    version = given.get("version", stored.version)
    if not _is_kept(user_path("objective", text), version, folder):
        return dict(given)
    return {name: value for name, value in given.items() if name not in ("objective", "version")}


def _is_kept(objective: Path, version: Any, folder: Path) -> bool:
    """Whether the objective's parameters are those of the copy in `folder`."""
    try:
        if not (folder / COPY_FILE).is_file():
            learned = meta_learned(objective)
            kept = _policies(folder / POLICIES_FOLDER)
            return learned is not None and bool(kept) and _policies(learned.seeds) == kept
        found = ObjectiveSnapshot.load(find_snapshot(objective, version_of(version)))
        copy = ObjectiveSnapshot.load(folder / COPY_FILE)
    except ValueError:  # it is not there, or damaged
        return False
    return found.config == copy.config and found.alpha.tobytes() == copy.alpha.tobytes()


def _policies(folder: Path) -> dict[Path, bytes]:
    files = (path for policy in folder.glob("seed-*.policy") for path in policy.rglob("*"))
    return {path.relative_to(folder): path.read_bytes() for path in files if path.is_file()}
