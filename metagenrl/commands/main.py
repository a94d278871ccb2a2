"""`metagenrl`: its commands, by name.

Each command imports what it runs only once its configuration has been found valid, so that help
and mistakes are answered at once. Exit codes: 0 done, 2 bad input (one line on stderr), 130
interrupted, 141 where the reader of the output closed the pipe, otherwise what the command returns.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

# Before numpy: its BLAS would run a thread per core for the server's small vectors, and the
# agents, one process each, already use every core.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from metagenrl.analysis.explain.config import ExplainConfig
from metagenrl.base.checks import UsageError
from metagenrl.base.ending import SIGNAL_EXIT, EndedBySignal, forget_signals
from metagenrl.commands import refusals, resolve, terminal
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
from metagenrl.commands.parsing import show_help
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
from metagenrl.runs.config.paths import absolute
from metagenrl.runs.config.presets import DEFAULT_PRESET, PRESETS
from metagenrl.runs.config.reference import CONTROL_CONFIGS, RunReference, WorkspaceConfig
from metagenrl.runs.config.too_short import too_short
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import unknown
from metagenrl.runs.folder import resume_command
from metagenrl.runs.names import CONFIG_FILE
from metagenrl.studies.options import ExperimentConfig, SweepConfig

USAGE_EXIT = 2
INTERRUPTED_EXIT = 130
_HELP = ("-h", "--help")
_SOURCED = ("train", "test", "baseline")
"""Commands that take --preset and --config."""


@dataclass(frozen=True)
class Command:
    """One sub-command: its configuration, how it is found and checked, and what carries it out."""

    config_class: type
    resolve: Callable[[Sequence[str]], Any]
    check: Callable[[Any], None]
    run: Callable[[Any], int]


def main(argv: Sequence[str] | None = None) -> None:
    """Carry out the command line `argv` (default: the process's own).

    Raises `SystemExit` with the exit code unless it is 0.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    _import_from_here()
    terminal.prepare()
    try:
        code = _dispatch(words)
        terminal.flush()
    except UsageError as error:
        code = _refuse(error)
    except KeyboardInterrupt:
        code = INTERRUPTED_EXIT
    except BrokenPipeError:
        code = terminal.leave_quietly()
    if code >= SIGNAL_EXIT and argv is None:
        forget_signals()
    if code:
        raise SystemExit(code)


def _import_from_here() -> None:
    """Let modules in the working directory be found, as `python` does: `my_env.py` beside the user.

    Last on the path, so that nothing there hides a package.
    """
    with contextlib.suppress(FileNotFoundError):  # it was removed
        if not {"", os.getcwd()} & set(sys.path):
            sys.path.append(os.getcwd())


def _dispatch(words: list[str]) -> int:
    if words and words[0] in _HELP:
        print(_overview())
        return 0
    if words == ["--version"]:
        print(f"metagenrl {version('metagenrl')}")
        return 0
    if not words:
        raise UsageError(f"command: missing, allowed: {', '.join(COMMANDS)}")
    length = 2 if words[0] == "objective" else 1
    name, rest = " ".join(words[:length]), words[length:]
    if name not in COMMANDS:
        raise UsageError(unknown(name, "command", COMMANDS))
    command = _meta_learner(rest) if name == "baseline" else None
    command = command or COMMANDS[name]
    if any(word in _HELP for word in rest):
        sourced = name in _SOURCED
        show_help(command.config_class, name, _help_defaults(command, rest), sourced)
        return 0
    return _carry_out(command, rest)


def _meta_learner(words: Sequence[str]) -> Command | None:
    """The command of a meta-learner with a configuration of its own, where `--algo` names one."""
    split = [part for word in words for part in word.split("=", 1)]
    named = split[split.index("--algo") + 1 :][:1] if "--algo" in split else []
    return next((command for algo, command in META_LEARNERS.items() if [algo] == named), None)


def _carry_out(command: Command, words: Sequence[str]) -> int:
    try:
        refusals.check_kernels()
        config = command.resolve(words)
        if hasattr(config, "run_dir"):  # the command trains, which takes a while
            config = absolute(config)
        command.check(config)
    except BrokenPipeError:
        raise
    except ValueError as error:
        return _refuse(error)
    except OSError as error:  # a folder that may not be read, a name that is too long
        named = "" if error.filename is None else f"{error.filename}: "
        return _refuse(ValueError(f"{named}{(error.strerror or str(error)).lower()}"))
    note = too_short(config)
    if note is not None:
        print(f"note: {note}", file=sys.stderr)
    try:
        return command.run(config)
    except KeyboardInterrupt as error:
        hint = f", go on with: {_again(config, words)}" if _can_go_on(config) else ""
        ended = f"ended by {error}" if isinstance(error, EndedBySignal) else "interrupted"
        print(f"{ended}{hint}", file=sys.stderr)
        return SIGNAL_EXIT + getattr(error, "signum", signal.SIGINT)


def _can_go_on(config: Any) -> bool:
    """Whether the command has a folder and has begun to write to it."""
    return hasattr(config, "run_dir") and (config.run_dir / CONFIG_FILE).is_file()


def _again(config: Any, words: Sequence[str]) -> str:
    """The command that goes on with what was cut off."""
    if isinstance(config, TrainConfig):
        return resume_command(config.run_dir)
    command = "test" if isinstance(config, MetaTestConfig) else "baseline"
    again = [] if "--resume" in words else ["--resume"]
    return shlex.join(["metagenrl", command, *words, *again])


def _refuse(error: ValueError) -> int:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return USAGE_EXIT


def _overview() -> str:
    summaries = {n: (c.config_class.__doc__ or "").strip() for n, c in COMMANDS.items()}
    lines = [f"  metagenrl {name:<16}{summary}" for name, summary in summaries.items()]
    return "\n".join(
        ["usage: metagenrl COMMAND [OPTIONS]", "", *lines, "", "metagenrl COMMAND --help tells all"]
    )


def _help_defaults(command: Command, words: Sequence[str]) -> Mapping[str, Any]:
    """What --help shows as defaults: those of the preset that the line names."""
    named = words[words.index("--preset") + 1 :][:1] if "--preset" in words else []
    name = next((n for n in PRESETS if [n] == named), DEFAULT_PRESET)
    preset = PRESETS[name]
    if command.config_class is EpgTrainConfig:
        return epg_defaults(name)
    if command.config_class is TrainConfig:
        return vars(preset.train)
    return {
        "agent": preset.train.agent,
        "architecture": preset.train.objective,
        "steps": preset.test_steps,
    }


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
    print(completion_script(config.shell, classes, _SOURCED))
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


if __name__ == "__main__":
    main()
