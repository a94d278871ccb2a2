"""`metagenrl`: train, test, baseline and objective show.

Each command imports what it runs only once its configuration has been found valid, so that help
and mistakes are answered at once. Exit codes: 0 done, 2 bad input (one line on stderr), 130
interrupted, otherwise what the command returns.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

# Before numpy: its BLAS would run a thread per core for the server's small vectors, and the
# agents, one process each, already use every core.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from metagenrl.cluster import resolve, validate
from metagenrl.cluster.command_line import show_help
from metagenrl.cluster.config import (
    BaselineConfig,
    MetaTestConfig,
    ShowConfig,
    TrainConfig,
    UsageError,
)
from metagenrl.cluster.config_io import unknown
from metagenrl.cluster.control_config import CONTROL_CONFIGS, RunReference
from metagenrl.cluster.hints import resume_command
from metagenrl.cluster.presets import DEFAULT_PRESET, PRESETS

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
    try:
        code = _dispatch(words)
    except UsageError as error:
        code = _refuse(error)
    if code:
        raise SystemExit(code)


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
    if any(word in _HELP for word in rest):
        sourced = name in _SOURCED
        show_help(COMMANDS[name].config_class, name, _help_defaults(name, rest), sourced)
        return 0
    return _carry_out(COMMANDS[name], rest)


def _carry_out(command: Command, words: Sequence[str]) -> int:
    try:
        config = command.resolve(words)
        command.check(config)
    except ValueError as error:
        return _refuse(error)
    try:
        return command.run(config)
    except KeyboardInterrupt:
        going_on = (
            isinstance(config, TrainConfig) and (config.run_dir / validate.CONFIG_FILE).is_file()
        )
        hint = f", go on with: {resume_command(config.run_dir)}" if going_on else ""
        print(f"interrupted{hint}", file=sys.stderr)
        return INTERRUPTED_EXIT


def _refuse(error: ValueError) -> int:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return USAGE_EXIT


def _overview() -> str:
    summaries = {n: (c.config_class.__doc__ or "").strip() for n, c in COMMANDS.items()}
    lines = [f"  metagenrl {name:<16}{summary}" for name, summary in summaries.items()]
    return "\n".join(
        ["usage: metagenrl COMMAND [OPTIONS]", "", *lines, "", "metagenrl COMMAND --help tells all"]
    )


def _help_defaults(name: str, words: Sequence[str]) -> Mapping[str, Any]:
    """What --help shows as defaults: those of the preset that the line names."""
    named = words[words.index("--preset") + 1 :][:1] if "--preset" in words else []
    preset = next((p for n, p in PRESETS.items() if [n] == named), PRESETS[DEFAULT_PRESET])
    if name == "train":
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
    from metagenrl.cluster.evaluate import meta_test

    return meta_test(config)


def _baseline(config: BaselineConfig) -> int:
    from metagenrl.cluster.evaluate import baseline

    return baseline(config)


def _show(config: ShowConfig) -> int:
    from metagenrl.cluster.show import show_objective

    return show_objective(config.file)


def _control(config: RunReference) -> int:
    from metagenrl.cluster.control_commands import control

    return control(config)


COMMANDS: dict[str, Command] = {
    "train": Command(TrainConfig, resolve.train_config, validate.check_train, _train),
    "test": Command(MetaTestConfig, resolve.test_config, validate.check_test, _test),
    "baseline": Command(
        BaselineConfig, resolve.baseline_config, validate.check_baseline, _baseline
    ),
    "objective show": Command(ShowConfig, resolve.show_config, validate.check_show, _show),
} | {
    name: Command(cls, resolve.control_config(cls), lambda config: None, _control)
    for name, cls in CONTROL_CONFIGS.items()
}


if __name__ == "__main__":
    main()
