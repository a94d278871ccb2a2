"""From the words of a command line to one complete, valid configuration.

Defaults come from a preset or from the run that is named, a YAML file overrides them, flags
override both. Nothing is written or started here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
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
from metagenrl.runs.config.lone_agents import RANDOM_OBJECTIVE, BaselineConfig, MetaTestConfig
from metagenrl.runs.config.presets import DEFAULT_PRESET, PRESETS
from metagenrl.runs.config.reference import RunReference, WorkspaceConfig
from metagenrl.runs.config.stored import stored_config, stored_values, unknown_fields
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import build, coerce, merge, to_dict
from metagenrl.runs.folder import check_is_run, training_file_of
from metagenrl.runs.kinds import described, kind_of, kind_of_values, require_meta_training
from metagenrl.runs.names import CONFIG_FILE
from metagenrl.runs.resume import check_resume


def train_config(argv: Sequence[str]) -> TrainConfig:
    """The configuration of `metagenrl train`.

    With --resume and neither --preset nor --config it starts from the resumed run's own, and
    `run_dir` is the resumed folder. Raises `ValueError` (one line) for all that is wrong with it.
    """
    source, flags = parse_with_source(TrainConfig, argv)
    resume: Path | None = flags.get("resume")
    if resume is not None:
        check_is_run("resume", resume)
        require_meta_training("resume", resume)
    if resume is None or source != Source():
        defaults = to_dict(PRESETS[source.preset or DEFAULT_PRESET].train)
    else:
        defaults = to_dict(stored_config(TrainConfig, resume / CONFIG_FILE, "resume"))
    given = with_texts(TrainConfig, merge(_file_values(source, TrainConfig), flags))
    if "agents_per_env" in given and "agents" not in given:
        each = coerce("agents_per_env", given["agents_per_env"], tuple[int, ...])
        given["agents"] = sum(each) or defaults["agents"]
    config = build(TrainConfig, merge(defaults, {"resume": None, "take_over": False} | given))
    if resume is None:
        return with_tried(config)
    if "run_dir" not in flags:
        config = dataclasses.replace(config, run_dir=resume)
    check_resume(config, resume)
    return with_tried(config)


def test_config(argv: Sequence[str]) -> MetaTestConfig:
    """The configuration of `metagenrl test`: agents as in the objective's run, else a preset's.

    Raises `ValueError` (one line) for all that is wrong with it.
    """
    return with_tried(_test_config(argv))


def _test_config(argv: Sequence[str]) -> MetaTestConfig:
    source, flags = parse_with_source(MetaTestConfig, argv)
    _check_resumed(flags, MetaTestConfig)
    values = merge(_file_values(source, MetaTestConfig), flags)
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
    """The test of what a meta-learning baseline left, which has one version and no objective."""
    for name in ("version", "architecture"):
        if name in values:
            raise UsageError(
                f"{name}: got {values[name]!r}, allowed: nothing; {values['objective']!r} holds "
                "policies and no objective"
            )
    return build(MetaTestConfig, merge(_test_defaults(source, None), values))


def baseline_config(argv: Sequence[str]) -> BaselineConfig:
    """The configuration of `metagenrl baseline`: the preset's agents.

    Raises `ValueError` (one line) for all that is wrong with it.
    """
    source, flags = parse_with_source(BaselineConfig, argv)
    _check_resumed(flags, BaselineConfig)
    defaults = _test_defaults(source, None)
    del defaults["architecture"]
    values = merge(merge(defaults, _file_values(source, BaselineConfig)), flags)
    return with_tried(build(BaselineConfig, values))


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
    """The values of --config. Raises `UsageError` for the file of another command's run."""
    if source.config is None:
        return {}
    values = stored_values(cls, source.config)
    kind, own = kind_of_values(values), _KINDS[cls]
    if kind != own and next(unknown_fields(cls, values), None) is not None:
        raise UsageError(
            f"config: got {str(source.config)!r} (it configures {_CONFIGURED[kind]}), allowed: a "
            f"file for {_CONFIGURED[own]}"
        )
    return values


_KINDS = {TrainConfig: "meta-training", MetaTestConfig: "test", BaselineConfig: "baseline"}
_CONFIGURED = {
    "meta-training": "`metagenrl train`",
    "test": "`metagenrl test`",
    "baseline": "`metagenrl baseline`",
    "epg": "`metagenrl baseline --algo epg`",
    "other": "another program",
}


def _check_resumed(flags: Mapping[str, Any], cls: type) -> None:
    """Refuse to resume what is no run of the command, before what else the command line lacks."""
    if not flags.get("resume") or "run_dir" not in flags:
        return
    folder = flags["run_dir"]
    check_is_run("run_dir", folder)
    if kind_of(folder) != _KINDS[cls]:
        raise UsageError(
            f"run_dir: got {str(folder)!r} ({described(folder)}), allowed: the folder of the "
            "command that is resumed"
        )
