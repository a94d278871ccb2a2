"""What a command cannot read or write, as one line in the name of the field that led there."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metagenrl.base.checks import UsageError
from metagenrl.base.files.errors import CorruptFile, FutureFormat


def named(error: Exception, config: Any = None) -> UsageError:
    """`error` as `field: got value (why), allowed: ...`.

    Of a `UsageError`, and of what is not about a file, the words stay. `config` is the command's
    configuration, as far as there is one.
    """
    path: Path | None
    if isinstance(error, CorruptFile | FutureFormat):
        why, path, allowed = str(error), error.path, "undamaged files"
    elif isinstance(error, OSError):
        path = Path(os.fsdecode(error.filename)) if error.filename is not None else None
        why = (error.strerror or str(error)).lower()
        why = why if path is None else f"{path}: {why}"
        if error.errno in FULL:  # of a write, which names no file
            path = path or getattr(config, "out", None)
        allowed = "files and folders that can be read and written"
        if path is None:
            return UsageError(why)
    else:
        return error if isinstance(error, UsageError) else UsageError(str(error))
    field, value = _field_of(path, config)
    return UsageError(f"{field}: got {value!r} ({why}), allowed: {allowed}")


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)
"""Of an `OSError` where a disk is full or broken, or a file larger than the user may write."""
_NO_MEMORY = (
    "cannot allocate memory", "can't allocate memory", "can't start new thread",
    "failed to map segment from shared object",
)  # fmt: skip


def no_memory(error: BaseException) -> UsageError | None:
    """One line where Python or a library got no memory; None where `error` is another one."""
    words = " ".join(str(error).split())
    if not isinstance(error, MemoryError) and not any(n in words.lower() for n in _NO_MEMORY):
        return None
    why = words or "no more for this process"
    return UsageError(f"memory: {why}, allowed: more of it, or a higher limit (ulimit -a)")


def check_directory() -> None:
    """Refuse to begin in a working directory that was removed: libraries end the process there."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UsageError(
            "working directory: got one that was removed, allowed: one that exists (cd to it)"
        ) from None


def _field_of(path: Path, config: Any) -> tuple[str, str]:
    """The field whose path is `path` or a folder above it, and its value."""
    absolute = path.absolute()
    best = ("path", str(path), -1)
    for one in dataclasses.fields(config) if dataclasses.is_dataclass(config) else ():
        value = getattr(config, one.name)
        for item in value if isinstance(value, tuple) else (value,):
            if not isinstance(item, str | Path) or not str(item):
                continue
            there = Path(item).absolute()
            if there in (absolute, *absolute.parents) and len(there.parts) > best[2]:
                best = (one.name, str(item), len(there.parts))
    return best[:2]


class _Held(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextlib.contextmanager
def held_notes() -> Iterator[None]:
    """Hold the program's warnings back, and drop them where an exception comes: it says enough."""
    logger, held = logging.getLogger("metagenrl"), _Held()
    propagates, before = logger.propagate, logger.handlers[:]
    logger.propagate, logger.handlers[:] = False, [held]
    try:
        yield
    except BaseException:
        held.records.clear()
        raise
    finally:
        logger.propagate, logger.handlers[:] = propagates, before
        for record in held.records:
            logger.handle(record)
