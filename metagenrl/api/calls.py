"""The commands as functions: the same options, checks and one-line errors."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from typing import Any, get_type_hints

from tyro.conf import Positional

from metagenrl.api.runs import Run, read_run
from metagenrl.api.settings import settings_of_its_own
from metagenrl.base.checks import UsageError, brief
from metagenrl.base.ending import SIGNAL_EXIT, EndedBySignal
from metagenrl.base.process import refuse_within_a_trial
from metagenrl.commands.environments import with_tried
from metagenrl.commands.parsing import Option, accepted_flags, with_source
from metagenrl.commands.shell.home import settle_home
from metagenrl.commands.shell.short_runs import too_short
from metagenrl.commands.table import COMMANDS, META_LEARNERS, Command
from metagenrl.runs.config.epg import EpgTrainConfig
from metagenrl.runs.config.lone_agents import BaselineConfig, MetaTestConfig
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import build, describe, to_dict
from metagenrl.runs.folder import resume_command
from metagenrl.runs.names import CONFIG_FILE


class CommandFailed(RuntimeError):  # noqa: N818 - reads as the event it is
    """A command ended with an exit code other than 0, after it had begun."""


def train(config: TrainConfig | None = None, **options: Any) -> Run:
    """`metagenrl train`: meta-train a population; the run that it left.

    `config`: a complete configuration; or `options`: every option of the command line under its
    name with `_` (`preset="quickstart"`, `envs=["Pendulum-v1"]`, `agent={"gamma": 0.9}` or
    `gamma=0.9`). Raises `UsageError` before anything is written, `CommandFailed` afterwards, and
    `KeyboardInterrupt` where Ctrl-C or another signal ended it.
    """
    return _trained("train", config, options)


def test(config: MetaTestConfig | None = None, **options: Any) -> Run:
    """`metagenrl test`: train new agents with a frozen objective. As `train`."""
    return _trained("test", config, options)


vars(test)["__test__"] = False  # or pytest takes it for a test of the user's


def baseline(config: BaselineConfig | EpgTrainConfig | None = None, **options: Any) -> Run:
    """`metagenrl baseline`: train agents with another algorithm. As `train`."""
    return _trained("baseline", config, options)


def command(name: str, **options: Any) -> int:
    """Any command, `"report"` or `"objective show"`; positional arguments go by their names.

    Its exit code, 0 where all went well. Raises `UsageError` as the command line tells it.

    >>> command("objective show", file="no/such/file")
    Traceback (most recent call last):
        ...
    metagenrl.base.checks.UsageError: file: got 'no/such/file' (no such file), allowed: ...
    """
    refuse_within_a_trial("metagenrl.command")
    chosen, config = _resolved(name, options)
    with _ray_as_before(), settings_of_its_own():
        return chosen.run(config)


def _trained(name: str, config: Any, options: Mapping[str, Any]) -> Run:
    refuse_within_a_trial(f"metagenrl.{name}")
    if config is not None:
        if options:
            raise UsageError(f"{next(iter(options))}: unexpected beside a complete configuration")
        epg = name == "baseline" and isinstance(config, EpgTrainConfig)
        chosen = META_LEARNERS["epg"] if epg else COMMANDS[name]
        config = with_tried(_complete(chosen.config_class, config))
        _checked(chosen, config)
    else:
        chosen, config = _resolved(name, options)
    with _ray_as_before(), settings_of_its_own():
        code = _run(name, chosen, config)
    if code > SIGNAL_EXIT:  # a population ends in good order, whoever called it is to end too
        raise EndedBySignal(code - SIGNAL_EXIT)
    if code:
        raise CommandFailed(f"metagenrl {name}: exit code {code}, see {config.run_dir}/run.log")
    return read_run(config.run_dir)


def _run(name: str, chosen: Command, config: Any) -> int:
    """The exit code; what a signal ends says with which command it goes on."""
    try:
        return chosen.run(config)
    except EndedBySignal as error:
        if (config.run_dir / CONFIG_FILE).is_file():
            algo = ["--algo", "epg"] if isinstance(config, EpgTrainConfig) else []
            words = ["metagenrl", name, *algo, "--run-dir", str(config.run_dir), "--resume"]
            trains = isinstance(config, TrainConfig)
            again = resume_command(config.run_dir) if trains else shlex.join(words)
            print(f"ended by {error}; go on with: {again}", file=sys.stderr)
        raise


def _complete(cls: type, config: Any) -> Any:
    """`config` with its fields as a file's are: numbers of their types, paths for text.

    Raises `UsageError` for a field of another type, and for another command's configuration.
    """
    if not isinstance(config, cls):
        allowed = f"a complete {cls.__name__}, or options by their names"
        raise UsageError(f"config: got {brief(config)}, allowed: {allowed}")
    with _in_one_line():
        return build(cls, to_dict(config))


@contextlib.contextmanager
def _ray_as_before() -> Iterator[None]:
    """A Ray that a run joins or starts is left again; the caller's own stays."""
    if _ray_is_on():
        yield
        return
    try:
        yield
    finally:
        if _ray_is_on():
            sys.modules["ray"].shutdown()


def _ray_is_on() -> bool:
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def _resolved(name: str, options: Mapping[str, Any]) -> tuple[Command, Any]:
    """The command and its valid configuration."""
    if not isinstance(name, str) or name not in COMMANDS:
        raise UsageError(f"command: got {brief(name)}, allowed: {', '.join(COMMANDS)}")
    own = META_LEARNERS.get(str(options.get("algo"))) if name == "baseline" else None
    chosen = own or COMMANDS[name]
    with _in_one_line():
        config = chosen.resolve(_words(chosen.config_class, options))
    _checked(chosen, config)
    return chosen, config


def _checked(chosen: Command, config: Any) -> None:
    settle_home()
    with _in_one_line():
        chosen.check(config)
    note = too_short(config)
    if note is not None:
        print(f"note: {note}", file=sys.stderr)


@contextlib.contextmanager
def _in_one_line() -> Iterator[None]:
    try:
        yield
    except UsageError:
        raise
    except ValueError as error:
        raise UsageError(" ".join(str(error).split())) from error


def _words(cls: type, options: Mapping[str, Any]) -> list[str]:
    """The options as the words of a command line, positional ones last."""
    hints = get_type_hints(cls, include_extras=True)
    names = [field.name for field in dataclasses.fields(cls)]
    placed = [n for n in names if Positional in getattr(hints[n], "__metadata__", ())]
    flags = {name: value for name, value in options.items() if name not in placed}
    known = accepted_flags(with_source(cls))
    words = [word for flag in _flags(flags, known) for word in flag]
    for name in placed:
        words = [*_values(name, options[name]), *words] if name in options else words
    return words


def _flags(
    options: Mapping[str, Any], known: Mapping[str, Option], prefix: str = ""
) -> Iterator[list[str]]:
    """Each option with its values; a nested mapping is a section (`--agent.gamma`).

    Raises `UsageError` for True or False where the `known` option is no switch.
    """
    for name, value in options.items():
        dashed = str(name).replace("_", "-")
        if isinstance(value, Mapping):
            yield from _flags(value, known, f"{prefix}{dashed}.")
        elif isinstance(value, bool):
            option = known.get(f"--{prefix}{dashed}")
            if option is not None and option.value is None:
                allowed = describe(option.hint)
                raise UsageError(f"{prefix}{name}: got {value}, allowed: {allowed}")
            yield [f"--{prefix}{dashed}" if value else f"--{prefix}no-{dashed}"]
        elif value is not None:
            yield [f"--{prefix}{dashed}", *_values(f"{prefix}{name}", value)]


def _values(name: str, value: Any) -> list[str]:
    if isinstance(value, list | tuple):
        return [word for each in value for word in _values(name, each)]
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()  # a number of numpy's or torch's
    if not isinstance(value, str | int | float | os.PathLike):
        allowed = "text, a number, a path, a list of these or a mapping"
        raise UsageError(f"{name}: got {brief(value)}, allowed: {allowed}")
    return [repr(value) if isinstance(value, float) else str(value)]
