"""From the words of a command line to one complete, valid configuration.

Defaults come from a preset or from the run that is named, a YAML file overrides them, flags
override both. Nothing is written or started here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from metagenrl.base.checks import UsageError
from metagenrl.base.paths import user_path
from metagenrl.baselines.meta_learned import meta_learned
from metagenrl.commands.environments import with_tried
from metagenrl.commands.epg import epg_test_config
from metagenrl.commands.objective.show import ShowConfig
from metagenrl.commands.parsing import Source, parse, parse_with_source, with_home
from metagenrl.commands.refusals import snapshot_architecture
from metagenrl.runs.config.environments import with_texts
from metagenrl.runs.config.epg import EpgTrainConfig
from metagenrl.runs.config.lone_agents import RANDOM_OBJECTIVE, BaselineConfig, MetaTestConfig
from metagenrl.runs.config.presets import DEFAULT_PRESET, PRESETS
from metagenrl.runs.config.reference import RunReference, WorkspaceConfig
from metagenrl.runs.config.resumed import check_preset, resumed_folder, resumed_values
from metagenrl.runs.config.stored import stored_config, stored_values, unknown_fields
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import build, coerce, merge, to_dict
from metagenrl.runs.folder import check_is_run, training_file_of
from metagenrl.runs.kinds import require_meta_training
from metagenrl.runs.names import CONFIG_FILE
from metagenrl.runs.resume import RESUME_MAY_CHANGE, check_resume


def train_config(argv: Sequence[str]) -> TrainConfig:
    """The configuration of `metagenrl train`.

    With --resume it starts from the resumed run's own, and `run_dir` is the resumed folder. Raises
    `ValueError` (one line) for all that is wrong with it.
    """
    source, flags = parse_with_source(TrainConfig, argv)
    resume: Path | None = flags.get("resume")
    if resume is not None:
        check_is_run("resume", resume)
        require_meta_training("resume", resume)
    preset = to_dict(PRESETS[source.preset or DEFAULT_PRESET].train)
    defaults = preset
    if resume is not None:
        defaults = to_dict(stored_config(TrainConfig, resume / CONFIG_FILE, "resume"))
    given = with_texts(TrainConfig, merge(_file_values(source, TrainConfig), flags))
    if "agents_per_env" in given and "agents" not in given:
        each = coerce("agents_per_env", given["agents_per_env"], tuple[int, ...])
        given["agents"] = sum(each) or defaults["agents"]
    if resume is not None and source.preset is not None:
        check_preset(source.preset, preset, defaults, given, RESUME_MAY_CHANGE)
    config = build(TrainConfig, merge(defaults, {"resume": None, "take_over": False} | given))
    if resume is None:
        return with_tried(config)
    if "run_dir" not in flags:
        config = dataclasses.replace(config, run_dir=resume)
    check_resume(config, resume)
    return with_tried(config)


def test_config(argv: Sequence[str]) -> MetaTestConfig:
    """The configuration of `metagenrl test`: agents as in the objective's run, else a preset's.

    With --resume it starts from the resumed run's own, which has a copy of the objective. Raises
    `ValueError` (one line) for all that is wrong with it.
    """
    return with_tried(_test_config(argv))


def _test_config(argv: Sequence[str]) -> MetaTestConfig:
    source, flags = parse_with_source(MetaTestConfig, argv)
    values = merge(_file_values(source, MetaTestConfig), flags)
    resumed = resumed_folder(MetaTestConfig, values)
    if resumed is not None:
        from metagenrl.meta_test.kept_objective import without_kept_objective  # slow

        values = without_kept_objective(values, resumed)
        return build(MetaTestConfig, _resumed_values(MetaTestConfig, resumed, source, values))
    if isinstance(values.get("objective"), str) and values["objective"]:
        values["objective"] = str(user_path("objective", values["objective"]))
    if values.get("objective", RANDOM_OBJECTIVE) == RANDOM_OBJECTIVE:
        return build(MetaTestConfig, merge(_test_defaults(source, None), values))
    evolved = epg_test_config(values, _test_defaults(source, None))
    if evolved is not None:
        return evolved
    if meta_learned(Path(values["objective"])) is not None:
        return _policy_test(source, values)
    # The objective first: a folder without one may be any command's.
    preset = build(MetaTestConfig, merge(_test_defaults(source, None), values))
    architecture = snapshot_architecture(preset)
    trained_by = training_file_of(Path(values["objective"]))
    config = build(MetaTestConfig, merge(_test_defaults(source, trained_by), values))
    if "architecture" in values and config.architecture != architecture:
        raise UsageError(
            f"architecture: got {to_dict(config.architecture)}, allowed: that of the objective, "
            f"{to_dict(architecture)}"
        )
    return dataclasses.replace(config, architecture=architecture)


def _policy_test(source: Source, values: dict[str, Any]) -> MetaTestConfig:
    """The test of what a meta-learning baseline left: one version, no objective, no agent."""
    for name in ("version", "architecture", "agent"):
        if name in values:
            raise UsageError(
                f"{name}: got {values[name]!r}, allowed: nothing; {values['objective']!r} holds "
                "trained policies and no objective"
            )
    return build(MetaTestConfig, merge(_test_defaults(source, None), values))


def baseline_config(argv: Sequence[str]) -> BaselineConfig:
    """The configuration of `metagenrl baseline`: the preset's agents, with --resume the run's own.

    Raises `ValueError` (one line) for all that is wrong with it.
    """
    source, flags = parse_with_source(BaselineConfig, argv)
    values = merge(_file_values(source, BaselineConfig), flags)
    resumed = resumed_folder(BaselineConfig, values)
    if resumed is not None:
        values = _resumed_values(BaselineConfig, resumed, source, values)
    else:
        defaults = _test_defaults(source, None)
        del defaults["architecture"]
        values = merge(defaults, values)
    return with_tried(build(BaselineConfig, values))


def _resumed_values(
    cls: type, folder: Path, source: Source, given: dict[str, Any]
) -> dict[str, Any]:
    preset = _test_defaults(source, None)
    del preset["architecture"]  # the objective's
    return resumed_values(cls, folder, given, {source.preset: preset} if source.preset else {})


def show_config(argv: Sequence[str]) -> ShowConfig:
    """The configuration of `metagenrl objective show`. Raises `UsageError`."""
    return build(ShowConfig, parse(ShowConfig, argv))


def workspace_config(argv: Sequence[str]) -> WorkspaceConfig:
    """The configuration of `metagenrl workspace`. Raises `UsageError`."""
    return build(WorkspaceConfig, parse(WorkspaceConfig, argv))


def control_config(cls: type[RunReference]) -> Callable[[Sequence[str]], RunReference]:
    """The parser of a command to a running population, which raises `UsageError`."""
    return lambda argv: build(cls, with_home(parse(cls, argv)))


def _test_defaults(source: Source, trained_by: Path | None) -> dict[str, Any]:
    """Those of the preset, or of the meta-training whose configuration lies in `trained_by`."""
    preset = PRESETS[source.preset or DEFAULT_PRESET]
    train = preset.train
    if trained_by is not None and source.preset is None:
        train = stored_config(TrainConfig, trained_by, "objective")
    return {
        "steps": preset.test_steps,
        "agent": to_dict(train.agent),
        "architecture": to_dict(train.objective),
    }


def _file_values(source: Source, cls: type) -> dict[str, Any]:
    """The values of --config. Raises `UsageError` for the file of another command."""
    if source.config is None:
        return {}
    values = stored_values(cls, source.config)
    for option in dataclasses.fields(Source):
        if option.name in values:
            raise UsageError(
                f"config: got {option.name!r} in {str(source.config)!r}, allowed: fields of the "
                f"configuration; `--{option.name}` is given on the command line"
            )
    foreign = set(unknown_fields(cls, values))
    # Another's has a field that it alone has, and none that it lacks; the rest is misspelt.
    lacking = {other: set(unknown_fields(other, values)) for other in _COMMANDS if other != cls}
    others = [_COMMANDS[other] for other, fields in lacking.items() if fields < foreign]
    if others:
        raise UsageError(
            f"config: got {str(source.config)!r} (it configures {' or '.join(others)}), allowed: a "
            f"file for {_COMMANDS[cls]}"
        )
    return values


_COMMANDS = {
    TrainConfig: "`metagenrl train`",
    MetaTestConfig: "`metagenrl test`",
    BaselineConfig: "`metagenrl baseline`",
    EpgTrainConfig: "`metagenrl baseline --algo epg`",
}
