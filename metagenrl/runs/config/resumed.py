"""Going on with a run: its own configuration comes first, what is typed has to agree with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metagenrl.base.checks import UsageError
from metagenrl.base.paths import user_path
from metagenrl.runs.config.epg import EpgTrainConfig
from metagenrl.runs.config.lone_agents import BaselineConfig, MetaTestConfig
from metagenrl.runs.config.presets import PresetName
from metagenrl.runs.config.stored import stored_config
from metagenrl.runs.config.yaml import merge, to_dict
from metagenrl.runs.folder import check_is_run
from metagenrl.runs.kinds import described, kind_of
from metagenrl.runs.names import CONFIG_FILE
from metagenrl.runs.resume import EVALUATION_RESUME_MAY_CHANGE, leaves

_KINDS = {MetaTestConfig: "test", BaselineConfig: "baseline", EpgTrainConfig: "epg"}


def resumed_folder(cls: type, given: Mapping[str, Any]) -> Path | None:
    """The folder that --resume goes on with, None without it.

    Raises `UsageError` where it holds no run of the command.
    """
    if given.get("resume") is not True or "run_dir" not in given:
        return None
    folder = user_path("run_dir", given["run_dir"])
    check_is_run("run_dir", folder)
    if kind_of(folder) != _KINDS[cls]:
        raise UsageError(
            f"run_dir: got {str(folder)!r} ({described(folder)}), allowed: the folder of the "
            "command that is resumed"
        )
    return folder


def resumed_values(
    cls: type,
    folder: Path,
    given: Mapping[str, Any],
    preset: Mapping[PresetName, Mapping[str, Any]],
    may_change: frozenset[str] = EVALUATION_RESUME_MAY_CHANGE,
) -> dict[str, Any]:
    """`given` on top of the run's own configuration.

    `preset`: the defaults of the one that is named, by its name; empty where none is. Raises
    `UsageError` where it says something else than the run's configuration.
    """
    stored = to_dict(stored_config(cls, folder / CONFIG_FILE, "run_dir"))
    algo = stored.get("algo")  # first: another's other fields would be refused for its sake
    if given.get("algo", algo) != algo:
        raise UsageError(
            f"algo: got {given['algo']!r}, allowed: {algo!r}, as in the run being resumed"
        )
    for name, defaults in preset.items():
        check_preset(name, defaults, stored, given, may_change)
    return merge(stored, {"take_over": False} | dict(given))


def check_preset(
    preset: PresetName,
    defaults: Mapping[str, Any],
    stored: Mapping[str, Any],
    given: Mapping[str, Any],
    may_change: frozenset[str],
) -> None:
    """Refuse a preset with another value than the run's for a field that is not `given`."""
    before = dict(leaves(dict(stored)))
    typed = {name for name, _ in leaves(dict(given))}
    for name, value in leaves(dict(defaults)):
        if name not in typed | may_change and value != before[name]:
            raise UsageError(
                f"preset: got {preset!r} ({name}: {value!r}), allowed: none, or one with "
                f"{before[name]!r}, as in the run being resumed"
            )
