"""What a process that tries environments says, and what is said of it where it does not."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import IO, Any

from metagenrl.base.checks import brief

PATIENCE = 10.0
"""Seconds after which the user is told what is waited for."""


CLOSED_EXIT = 9
"""Exit code of the process where an environment closed the pipe for its answers."""


class Died(Exception):  # noqa: N818 - reads as the event it is
    """The process has ended by itself."""


def last_line(output: IO[bytes]) -> str:
    """What the process printed last: mostly the exception that ended it."""
    output.seek(max(0, output.seek(0, os.SEEK_END) - 2_000))
    lines = output.read().decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f" (it printed last: {brief(last, 200)})" if last else ""


def until_newline(text: str, pipe: Any, timeout: float) -> Iterator[bytes]:
    """The next line, byte by byte, or what there is of it where the process has ended."""
    begun, told = time.monotonic(), False
    while True:
        waited = time.monotonic() - begun
        if waited > timeout:
            raise ValueError(
                f"environment: got {text!r}, which takes longer than {timeout:g} s to be made, "
                "reset, stepped and closed, allowed: less, or another --env-start-timeout"
            )
        if not told and waited > PATIENCE:
            told = True
            print(f"trying {text} (at most {timeout:g} s)", file=sys.stderr, flush=True)
        if select.select([pipe], [], [], 0.2)[0]:
            byte = pipe.read(1)
            yield byte
            if byte in (b"\n", b""):
                return


def closes_descriptors(text: str) -> str:
    """What is said of an environment that closes files of the process."""
    return (
        f"environment: got {text!r}, which closes file descriptors that it did not open "
        "(os.closerange?), allowed: one that closes its own"
    )


def how_it_ended(text: str, process: subprocess.Popen[bytes]) -> str:
    """What is said of a process that ended before it gave its answer."""
    code = process.wait()
    if code == CLOSED_EXIT:
        return closes_descriptors(text)
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    return (
        f"environment: got {text!r}, which ended its process {how} in its trial, allowed: one that "
        "raises exceptions"
    )
