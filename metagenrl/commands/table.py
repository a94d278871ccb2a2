"""Every command by its name: its configuration, how it is found and checked, what carries it out.

What a command needs is imported when it runs: see `_train` and its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metagenrl.analysis.explain.config import ExplainConfig
from metagenrl.commands import refusals, resolve
from metagenrl.commands.compare import (
    CompareConfig,
    check_compare,
    compare_config,
    run_compare,
)
from metagenrl.commands.epg import check_epg_train, epg_train_config
from metagenrl.commands.explain import check_explain, explain, explain_config
from metagenrl.commands.objective.card import CardConfig, card_config, check_card, write_card
from metagenrl.commands.objective.list import ListConfig, list_config, list_objectives
from metagenrl.commands.objective.show import ShowConfig
from metagenrl.commands.report import ReportConfig, check_report, report, report_config
from metagenrl.commands.seeing import (
    EnjoyConfig,
    ExportConfig,
    RecordConfig,
    check_seeing,
    enjoy,
    export_policy,
    record,
    seeing_config,
)
from metagenrl.commands.shell.completion import (
    CompletionConfig,
    completion_config,
    completion_script,
)
from metagenrl.commands.studies.experiment import (
    check_experiment,
    experiment_config,
    run_experiment,
)
from metagenrl.commands.studies.sweep import check_sweep, run_sweep, sweep_config
from metagenrl.commands.top import TopConfig, check_top, top, top_config
from metagenrl.runs.config.epg import EpgTrainConfig, epg_defaults
from metagenrl.runs.config.lone_agents import BaselineConfig, MetaTestConfig
from metagenrl.runs.config.presets import DEFAULT_PRESET, PRESETS
from metagenrl.runs.config.reference import CONTROL_CONFIGS, RunReference, WorkspaceConfig
from metagenrl.runs.config.train import TrainConfig
from metagenrl.studies.options import ExperimentConfig, SweepConfig

SOURCED = ("train", "test", "baseline")
"""Commands that take --preset and --config."""


@dataclass(frozen=True)
class Command:
    """One sub-command: its configuration, how it is found and checked, and what carries it out."""

    config_class: type
    resolve: Callable[[Sequence[str]], Any]
    check: Callable[[Any], None]
    run: Callable[[Any], int]


def _train(config: TrainConfig) -> int:
    from metagenrl.cluster.training import train

    return train(config)


def _test(config: MetaTestConfig) -> int:
    from metagenrl.meta_test.run import meta_test

    return meta_test(config)


def _baseline(config: BaselineConfig) -> int:
    from metagenrl.meta_test.run import baseline

    return baseline(config)


def _train_epg(config: EpgTrainConfig) -> int:
    from metagenrl.cluster.epg.training import train_epg

    return train_epg(config)


def _show(config: ShowConfig) -> int:
    from metagenrl.commands.objective.show import show_objective

    return show_objective(config.file)


def _workspace(config: WorkspaceConfig) -> int:
    from metagenrl.tracking.wandb.workspace import workspace_command

    return workspace_command(config)


def _control(config: RunReference) -> int:
    from metagenrl.commands.control import control

    return control(config)


def _complete(config: CompletionConfig) -> int:
    classes = {name: command.config_class for name, command in COMMANDS.items()}
    print(completion_script(config.shell, classes, SOURCED))
    return 0


COMMANDS: dict[str, Command] = (
    {
        "train": Command(TrainConfig, resolve.train_config, refusals.check_train, _train),
        "test": Command(MetaTestConfig, resolve.test_config, refusals.check_test, _test),
        "baseline": Command(
            BaselineConfig, resolve.baseline_config, refusals.check_baseline, _baseline
        ),
        "objective show": Command(ShowConfig, resolve.show_config, refusals.check_show, _show),
        "objective list": Command(ListConfig, list_config, lambda config: None, list_objectives),
        "objective card": Command(CardConfig, card_config, check_card, write_card),
        "experiment": Command(
            ExperimentConfig, experiment_config, check_experiment, run_experiment
        ),
        "sweep": Command(SweepConfig, sweep_config, check_sweep, run_sweep),
        "compare": Command(CompareConfig, compare_config, check_compare, run_compare),
        "report": Command(ReportConfig, report_config, check_report, report),
        "explain": Command(ExplainConfig, explain_config, check_explain, explain),
        "enjoy": Command(EnjoyConfig, seeing_config(EnjoyConfig), check_seeing, enjoy),
        "record": Command(RecordConfig, seeing_config(RecordConfig), check_seeing, record),
        "export": Command(ExportConfig, seeing_config(ExportConfig), check_seeing, export_policy),
        "top": Command(TopConfig, top_config, check_top, top),
        "workspace": Command(
            WorkspaceConfig, resolve.workspace_config, refusals.check_workspace, _workspace
        ),
    }
    | {
        name: Command(cls, resolve.control_config(cls), lambda config: None, _control)
        for name, cls in CONTROL_CONFIGS.items()
    }
    | {
        "completion": Command(CompletionConfig, completion_config, lambda config: None, _complete),
    }
)

META_LEARNERS: dict[str, Command] = {
    "epg": Command(EpgTrainConfig, epg_train_config, check_epg_train, _train_epg),
}
"""Values of `baseline --algo` whose meta-training has options of its own."""


def meta_learner(words: Sequence[str]) -> Command | None:
    """The command of a meta-learner with a configuration of its own, where `--algo` names one."""
    split = [part for word in words for part in word.split("=", 1)]
    named = split[split.index("--algo") + 1 :][:1] if "--algo" in split else []
    return next((command for algo, command in META_LEARNERS.items() if [algo] == named), None)


def help_defaults(command: Command, words: Sequence[str]) -> Mapping[str, Any]:
    """The defaults in --help: those of the preset that the line names."""
    named = words[words.index("--preset") + 1 :][:1] if "--preset" in words else []
    name = next((n for n in PRESETS if [n] == named), DEFAULT_PRESET)
    preset = PRESETS[name]
    if command.config_class is EpgTrainConfig:
        return epg_defaults(name)
    if command.config_class is TrainConfig:
        return vars(preset.train)
    if command.config_class not in (MetaTestConfig, BaselineConfig):
        return {}
    return {
        "agent": preset.train.agent,
        "architecture": preset.train.objective,
        "steps": preset.test_steps,
    }
