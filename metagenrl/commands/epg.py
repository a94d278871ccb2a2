"""`metagenrl baseline --algo epg` and `metagenrl test` of what came out: words to configurations.

Nothing is written or started here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metagenrl.base.checks import UsageError
from metagenrl.commands.environments import tried_facts
from metagenrl.commands.parsing import parse_with_source
from metagenrl.runs.config.epg import EpgTrainConfig, epg_defaults, is_epg
from metagenrl.runs.config.lone_agents import MetaTestConfig
from metagenrl.runs.config.paths import absolute
from metagenrl.runs.config.presets import DEFAULT_PRESET
from metagenrl.runs.config.resumed import resumed_folder, resumed_values
from metagenrl.runs.config.stored import stored_values
from metagenrl.runs.config.yaml import build, merge, to_dict
from metagenrl.runs.resume import EVALUATION_RESUME_MAY_CHANGE, check_run_folder

RESUME_MAY_CHANGE = EVALUATION_RESUME_MAY_CHANGE | {
    "engine", "worker_cpus", "loop_timeout", "max_restarts", "snapshot_every"
}  # fmt: skip
"""Fields that decide how a run is executed and not what it computes."""


def epg_train_config(argv: Sequence[str]) -> EpgTrainConfig:
    """The configuration of `metagenrl baseline --algo epg`, the padding's sizes filled in.

    With --resume it starts from the resumed run's own. Raises `ValueError` (one line) for all that
    is wrong with it, environments included.
    """
    source, flags = parse_with_source(EpgTrainConfig, argv)
    preset = epg_defaults(source.preset or DEFAULT_PRESET)
    defaults = {n: to_dict(v) if dataclasses.is_dataclass(v) else v for n, v in preset.items()}
    file = {} if source.config is None else stored_values(EpgTrainConfig, source.config)
    values = merge(file, flags)
    folder = resumed_folder(EpgTrainConfig, values)
    if folder is None:
        values = merge(defaults, values)
    else:
        named = {source.preset: defaults} if source.preset else {}
        values = resumed_values(EpgTrainConfig, folder, values, named, RESUME_MAY_CHANGE)
    return _padded(absolute(build(EpgTrainConfig, values)))


def _padded(config: EpgTrainConfig) -> EpgTrainConfig:
    from metagenrl.baselines.padding import Padding  # Gymnasium takes a while to import

    agent = config.agent
    specs = tried_facts("envs", config.environments, config.env_start_timeout)
    padding = Padding.of(specs, agent.pad_observations, agent.pad_actions)
    agent = dataclasses.replace(
        agent, pad_observations=padding.observations, pad_actions=padding.actions
    )
    names = tuple(one.env_id for one in specs)
    return dataclasses.replace(
        config, agent=agent, **({"envs": names} if config.envs else {"env": names[0]})
    )


def check_epg_train(config: EpgTrainConfig) -> None:
    """Refuse a run folder that cannot be used."""
    check_run_folder(config, RESUME_MAY_CHANGE)


def epg_test_config(
    values: Mapping[str, Any], defaults: Mapping[str, Any]
) -> MetaTestConfig | None:
    """The configuration of a meta-test of an evolved loss, None where the objective is none.

    Raises `UsageError` for fields that the loss itself decides.
    """
    if not _is_evolved(values):
        return None
    given = next((name for name in ("agent", "architecture") if name in values), None)
    if given is not None:
        raise UsageError(
            f"{given}: got {values[given]}, allowed: nothing, an evolved loss brings its own"
        )
    return build(MetaTestConfig, merge(defaults, values))


def _is_evolved(values: Mapping[str, Any]) -> bool:
    """By the last version: all of a run are of a kind. What is unusable is not judged here."""
    from metagenrl.objective_server.snapshots.find import find_snapshot
    from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot

    try:
        return is_epg(ObjectiveSnapshot.load(find_snapshot(Path(values["objective"]), "last")))
    except ValueError:
        return False
