"""`metagenrl` and `python -m metagenrl`: the command line, once its libraries can be imported."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

if __name__ == "__main__" and not sys.flags.safe_path:
    # `python -m` looks in the working directory first: a torch.py there would hide the package.
    sys.path.append(sys.path.pop(0))

import os
import signal
from types import FrameType
from typing import NoReturn


def main(argv: Sequence[str] | None = None) -> None:
    """As `metagenrl.commands.main.main`, once it is imported, which Ctrl-C ends in one line."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)
    command_line = _command_line()
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, before)
    command_line(argv)


def _interrupted(signum: int, frame: FrameType | None) -> NoReturn:
    """Raise nothing: a library that is being imported may swallow it."""
    os.write(2, b"interrupted\n")
    os._exit(128 + signum)


def _command_line() -> Callable[[Sequence[str] | None], None]:
    """The command line; a library that an environment variable stops is told."""
    from metagenrl.commands.shell.variables import refused_variable

    try:
        from metagenrl.commands.main import main as command_line
    except Exception as error:
        refused = refused_variable(error)
        if refused is None:
            raise
        print(f"error: {refused}", file=sys.stderr)
        raise SystemExit(2) from None
    return command_line


if __name__ == "__main__":
    main()
