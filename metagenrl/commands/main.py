"""`metagenrl`: a line of words is split, its command is looked up and carried out.

The commands are in `table.py`. Each imports what it runs only once its configuration has been found
valid, so that help and mistakes are answered at once. Exit codes: 0 done, 1 where output could not
be written, 2 bad input (one line on stderr), 130 interrupted, 141 where the reader of the output
closed the pipe, otherwise what the command returns.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from metagenrl.base.checks import UsageError
from metagenrl.base.ending import SIGNAL_EXIT, EndedBySignal
from metagenrl.base.files.errors import CorruptFile, FutureFormat
from metagenrl.commands import refusals
from metagenrl.commands.parsing import about, show_help
from metagenrl.commands.shell import terminal, troubles
from metagenrl.commands.shell.home import settle_home
from metagenrl.commands.shell.program import Program
from metagenrl.commands.shell.short_runs import too_short
from metagenrl.commands.shell.variables import refused_variable
from metagenrl.commands.table import COMMANDS, SOURCED, Command, help_defaults, meta_learner
from metagenrl.runs.config.lone_agents import MetaTestConfig
from metagenrl.runs.config.paths import absolute
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import unknown
from metagenrl.runs.folder import resume_command
from metagenrl.runs.names import CONFIG_FILE

USAGE_EXIT = 2
FAILED_EXIT = 1
_LONGEST = 2_000
"""Letters of a refusal: the value that it shows may be a whole file that was meant as one word."""
_HELP = ("-h", "--help")


def main(argv: Sequence[str] | None = None) -> None:
    """Carry out the command line `argv` (default: the process's own).

    Raises `SystemExit` with the exit code unless it is 0.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    program = Program() if argv is None else None
    try:
        _import_from_here()
        terminal.prepare(program=argv is None)
        code = _dispatch(words)
        terminal.flush()
    except UsageError as error:
        code = _refuse(error)
    except EndedBySignal as error:
        code = SIGNAL_EXIT + error.signum
    except KeyboardInterrupt:
        code = SIGNAL_EXIT + signal.SIGINT
        print("interrupted", file=sys.stderr)
    except BrokenPipeError:
        code = terminal.leave_quietly()
    if program is not None:
        program.over(code)
        if code >= SIGNAL_EXIT:
            program.leave(code)
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
        return _told()
    if words == ["--version"]:
        print(f"metagenrl {version('metagenrl')}")
        return _told()
    if not words:
        raise UsageError(f"command: missing, allowed: {', '.join(COMMANDS)}")
    length = 2 if words[0] == "objective" else 1
    name, rest = " ".join(words[:length]), words[length:]
    if name not in COMMANDS:
        raise UsageError(unknown(name, "command", COMMANDS))
    command = meta_learner(rest) if name == "baseline" else None
    command = command or COMMANDS[name]
    if any(word in _HELP for word in rest):
        sourced = name in SOURCED
        try:
            show_help(command.config_class, name, help_defaults(command, rest), sourced)
        except SystemExit:  # tyro's, which ends a program after its help
            if not _told():
                raise
        return _told()
    return _carry_out(command, rest)


def _carry_out(command: Command, words: Sequence[str]) -> int:
    config: Any = None
    try:
        troubles.check_directory()
        with troubles.held_notes():
            refusals.check_kernels()
            config = command.resolve(words)
            homeless = settle_home()
            if hasattr(config, "run_dir"):  # the command trains, which takes a while
                config = absolute(config)
            refusals.check_variables(config)
            command.check(config)
    except BrokenPipeError:
        raise
    except (ValueError, OSError) as error:  # a folder that may not be read, a name too long
        return _refuse(troubles.named(error, config))
    except MemoryError:
        return _refuse(UsageError("memory: too little for these numbers, allowed: smaller ones"))
    for note in (homeless if hasattr(config, "run_dir") else None, too_short(config)):
        if note is not None:
            print(f"note: {note}", file=sys.stderr)
    try:
        code = _run(command, config)
        # Who trains has it all in the run's folder, and may have done so for days.
        return code if hasattr(config, "run_dir") else _told(code)
    except KeyboardInterrupt as error:
        signum = getattr(error, "signum", signal.SIGINT)
        can_go_on = _can_go_on(config)
        hint = f", go on with: {_again(config, words)}" if can_go_on else ""
        ended = f"ended by {error}" if isinstance(error, EndedBySignal) else "interrupted"
        if can_go_on or signum != signal.SIGPIPE:  # `| head` needs no words
            print(f"{ended}{hint}", file=sys.stderr)
        return SIGNAL_EXIT + int(signum)


def _run(command: Command, config: Any) -> int:
    """The command's exit code; a file that cannot be read or written is one line."""
    try:
        return command.run(config)
    except BrokenPipeError:
        raise
    except (CorruptFile, FutureFormat) as error:
        return _refuse(troubles.named(error, config))
    except OSError as error:
        if error.filename is None and not hasattr(config, "out"):
            raise
        full = error.errno in troubles.FULL
        return _refuse(troubles.named(error, config), FAILED_EXIT if full else USAGE_EXIT)
    except UsageError:
        raise
    except Exception as error:  # of a library that is imported only now
        if (lacking := troubles.no_memory(error)) is not None:
            return _refuse(lacking, FAILED_EXIT)
        refused = refused_variable(error)
        if refused is None:
            raise
        return _refuse(refused)


def _told(code: int = 0) -> int:
    """The exit code of a command that is over, whose output may have been lost on its way."""
    return FAILED_EXIT if terminal.lost() and not code else code


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


def _refuse(error: ValueError, code: int = USAGE_EXIT) -> int:
    line = " ".join(str(error).split())
    line = line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
    print(f"error: {line}", file=sys.stderr)
    return code


def _overview() -> str:
    summaries = {name: about(command.config_class) for name, command in COMMANDS.items()}
    lines = [f"  metagenrl {name:<16}{summary}" for name, summary in summaries.items()]
    return "\n".join(
        ["usage: metagenrl COMMAND [OPTIONS]", "", *lines, "", "metagenrl COMMAND --help tells all"]
    )


if __name__ == "__main__":
    main()
