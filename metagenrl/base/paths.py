"""Paths as users write them: `~` is the home, and what no file can be called is refused."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metagenrl.base.checks import UsageError, brief

_LONGEST_PATH = 4_096  # bytes, Linux's PATH_MAX
_URL = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
ROOM = 200
"""Characters that a run's own files need below its folder."""


def user_path(field: str, text: Any) -> Path:
    """`text`, a string or a path, as a path, the home of `~` filled in.

    Raises `UsageError` in the name of `field` where it is something else, or no file can have it.
    """
    if not isinstance(text, str | os.PathLike):
        raise UsageError(f"{field}: got {brief(text)}, allowed: a path (str or pathlib.Path)")
    text = text if isinstance(text, str) else Path(text)
    if _URL.match(str(text)) and not os.path.lexists(Path(text).parts[0]):
        raise _refusal(field, text, "an address", "a path of this machine, as what is mounted has")
    try:
        path = Path(text).expanduser()
        str(path).encode()  # into configurations, which are UTF-8
        os.lstat(path)
    except RuntimeError as error:  # ~nobody-here
        raise _refusal(field, text, str(error).lower(), "the home of a user that exists") from error
    except UnicodeEncodeError:
        shown = str(text).encode(errors="backslashreplace").decode()
        raise _refusal(field, shown, "not UTF-8", "a path in UTF-8") from None
    except ValueError as error:
        raise _refusal(field, text, str(error), "a path without null bytes") from error
    except OSError as error:
        if is_too_long(error):
            raise too_long(field, text) from error
    return path


def is_too_long(error: OSError) -> bool:
    """Whether a path, or a name in it, is longer than the file system takes."""
    return error.errno == errno.ENAMETOOLONG


def too_long(field: str, text: str | Path) -> UsageError:
    """The refusal of a path that is too long; most of it is left out."""
    shown = str(text)
    shown = shown if len(shown) < 80 else f"{shown[:40]}...{shown[-20:]}"
    return _refusal(field, shown, f"{len(str(text))} characters", "a shorter path")


def check_writable(field: str, folder: Path) -> None:
    """Refuse a folder that cannot be made or written to, in the name of `field`.

    Tried in the nearest folder that exists, with a file that has no name and leaves nothing.
    """
    if len(os.fsencode(folder.absolute())) + ROOM > _LONGEST_PATH:
        raise too_long(field, folder)
    allowed = "a folder that can be written to"
    try:
        if folder.is_symlink() and not folder.exists():
            raise _refusal(field, folder, "a link to nothing", allowed)
        if folder.exists() and not folder.is_dir():
            raise _refusal(field, folder, "a file", allowed)
        nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        if is_too_long(error):
            raise too_long(field, folder) from error
        why = "nothing can be made in it" if error.errno == errno.ENOENT else str(error.strerror)
        raise _refusal(field, folder, f"{why}: {nearest}", allowed) from error


def check_file(field: str, file: Path) -> None:
    """Refuse a file that cannot be written, in the name of `field`; its folder must be there."""
    allowed = "a file in a folder that exists and can be written to"
    try:
        if file.exists() and not stat.S_ISREG(file.stat().st_mode):
            what = "a folder" if file.is_dir() else "a device"
            raise _refusal(field, file, what, allowed)
        if file.is_symlink() and not file.exists():
            raise _refusal(field, file, "a link to nothing", allowed)
        folder = file.absolute().parent
        if not folder.is_dir():
            why = "its folder is a file" if folder.exists() else "its folder is not there"
            raise _refusal(field, file, why, allowed)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if is_too_long(error):
            raise too_long(field, file) from error
        made = error.errno != errno.ENOENT
        why = str(error.strerror) if made else "nothing can be made in its folder"
        raise _refusal(field, file, why, allowed) from error


def _refusal(field: str, shown: str | Path, why: str, allowed: str) -> UsageError:
    return UsageError(f"{field}: got {str(shown)!r} ({why}), allowed: {allowed}")


def folder_gone(folder: Path) -> OSError:
    """The reason why a run's folder is no longer at its place."""
    return OSError(errno.ENOENT, f"the run's folder {folder} was moved, removed or unmounted")


@contextlib.contextmanager
def naming_lost_folder(folder: Path) -> Iterator[None]:
    """What is not found because `folder` itself is not there any more is said in its name."""
    try:
        yield
    except FileNotFoundError:
        if folder.exists():
            raise
        raise folder_gone(folder) from None
