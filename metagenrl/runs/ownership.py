"""The folder of a run while a command works in it: one process's, watched and waited for."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

from metagenrl.base.checks import UsageError
from metagenrl.base.files.folder_lock import FolderInUse, FolderLock, Holder
from metagenrl.base.paths import folder_gone

LOOK_SECONDS = 1.0
"""Between two looks at who holds the folder."""


class OwnFolder:
    """A run's folder that this process holds."""

    def __init__(self, path: Path, lock: FolderLock) -> None:
        self.path = path
        self._lock, self._due = lock, 0.0
        self._stat = os.stat(path)

    @property
    def holder(self) -> Holder:
        """This process, as the folder's lock names it."""
        return self._lock.holder

    def check(self) -> None:
        """Raise `OSError` where nothing can be written to the folder any more.

        That is where it was moved, removed, unmounted or made read-only; `FolderLost` where
        another process has taken it over.
        """
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            raise folder_gone(self.path) from None
        now = time.monotonic()
        if now < self._due and os.path.samestat(found, self._stat):
            return
        if not os.path.samestat(found, self._stat) and not self._lock.path.exists():
            raise OSError(errno.ESTALE, f"another folder is in the place of the run's, {self.path}")
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise OSError(errno.EACCES, f"the run's folder {self.path} cannot be written to")
        self._lock.check()
        self._stat = found
        self._due = now + LOOK_SECONDS


@contextlib.contextmanager
def own(folder: Path, take_over: bool = False, field: str = "run_dir") -> Iterator[OwnFolder]:
    """Hold the folder of a run, which is made where it is not there.

    Raises `UsageError` where another process holds it. Afterwards a folder that was made and has
    nothing in it is gone again.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    lock = FolderLock(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(take_over)
    except FolderInUse as error:
        raise UsageError(
            f"{field}: got {str(folder)!r} ({error}), allowed: a folder that no process works in"
        ) from error
    except OSError as error:
        what = f"{lock.path.name}: " if os.path.lexists(lock.path) else ""
        raise UsageError(
            f"{field}: got {str(folder)!r} ({what}{error.strerror}), allowed: a folder that can be "
            "written to"
        ) from error
    if lock.former is not None:
        print(f"taken over from {lock.former}, which is gone", flush=True)
    try:
        yield OwnFolder(folder, lock)
    finally:
        lock.release()
        with contextlib.suppress(OSError):  # it is not empty
            for path in made:
                path.rmdir()
