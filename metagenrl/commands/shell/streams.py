"""Standard output and error that outlast what happens to them.

An environment may close them, the disk below them may be full, and who reads them may go. None of
that may end a run of days with a traceback.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
from typing import Any

from metagenrl.base.descriptors import far_copy
from metagenrl.base.ending import EndedBySignal

OUTPUT = "standard output"


class _File(io.FileIO):
    """A descriptor to write to, whose failures are told once and otherwise swallowed."""

    def __init__(self, descriptor: int, name: str) -> None:
        super().__init__(far_copy(descriptor), "w")
        self.called, self.failure = name, ""

    def write(self, data: Any) -> int:
        """Raises `EndedBySignal`, once, where nobody reads any more."""
        if not self.failure:
            try:
                return super().write(data) or 0
            except BrokenPipeError:
                # A view on standard error that nobody sees any more ends no training.
                if self.called == OUTPUT and threading.current_thread() is threading.main_thread():
                    self.failure = "nobody reads it"
                    raise EndedBySignal(signal.SIGPIPE) from None
            except OSError as error:
                self.failure = (error.strerror or str(error)).lower()
                self._tell()
        return memoryview(data).nbytes

    def _tell(self) -> None:
        line = f"error: {self.called}: {self.failure}; its text is lost from here on\n"
        with contextlib.suppress(OSError):
            os.write(2, line.encode(errors="replace"))

    def close(self) -> None:
        """Stay open: a line that is written later would end the run."""

    def _dealloc_warn(self, source: object) -> None:
        """No word (`python -X dev`): it is open at the end on purpose."""


class _Stream(io.TextIOWrapper):
    def close(self) -> None:
        """Only write what waits."""
        self.flush()


def open_missing() -> None:
    """Give standard input, output and error that were closed a place to go.

    Otherwise the first files that the program opens would be given their numbers.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: SIM115 - for good
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def make_lasting() -> None:
    """Put streams that last in the place of the interpreter's own."""
    for name, number, called in (
        ("stdout", 1, OUTPUT),
        ("stderr", 2, "standard error"),
    ):
        stream = getattr(sys, name)
        if stream is not getattr(sys, f"__{name}__") or not isinstance(stream, io.TextIOWrapper):
            continue  # somebody's own
        lasting = _Stream(
            io.BufferedWriter(_File(number, called)),
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=stream.line_buffering or stream.write_through,  # `python -u`
        )
        setattr(sys, name, lasting)


def failure() -> str:
    """Why text of the standard output was lost; "" where none was."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.failure if isinstance(raw, _File) else ""
