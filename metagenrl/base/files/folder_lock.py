"""A folder that belongs to one process: a lock that its holder's death opens, however it came.

The file `run.lock` says who holds it. On one machine the kernel's lock (flock) decides, which ends
with its holder: a crash blocks nobody. Between machines that share a folder (NFS) the kernel's
lock may or may not hold, so the holder renews the file's time every few seconds, and another
machine takes the folder over only when it is told to and has seen no renewal for a while.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import threading
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

LOCK_FILE = "run.lock"
RENEWAL_SECONDS = 10.0
"""Between two signs of life of the holder."""
SILENCE_SECONDS = 35.0
"""Without a sign of life, after which a holder on another machine counts as gone."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a folder."""

    host: str
    boot: str  # identifies the machine since it was started; empty where it has no such name
    pid: int
    began: float  # when the process was started, so that a number used again is told apart
    since: float  # seconds since the epoch
    token: str

    @classmethod
    def this_process(cls) -> Holder:
        """This process, from now on."""
        began, token = psutil.Process().create_time(), uuid.uuid4().hex
        return cls(platform.node(), _boot(), os.getpid(), began, time.time(), token)

    @property
    def here(self) -> bool:
        """Whether its process can be looked up on this machine."""
        return self.host == platform.node() and self.boot == _boot()

    @property
    def restarted(self) -> bool:
        """Whether this machine was started anew since, which its process has not outlived."""
        return self.host == platform.node() and self.boot != _boot()

    @property
    def alive(self) -> bool:
        """Whether its process, which is of this machine, is there."""
        try:
            return bool(abs(psutil.Process(self.pid).create_time() - self.began) < 2.0)
        except psutil.NoSuchProcess:
            return False

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host} since {since}"


class FolderInUse(OSError):  # noqa: N818 - reads as the state it is
    """Another process holds the folder; the message says which one, and what to do."""


class FolderLost(RuntimeError):  # noqa: N818
    """The folder is no longer this process's: taken over, or another one is in its place."""


class FolderLock:
    """Holds a folder from `acquire` to `release`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK_FILE
        self.holder = Holder.this_process()
        self.former: Holder | None = None  # died without a word
        self._descriptor = -1
        self._released = threading.Event()

    def acquire(self, take_over: bool = False) -> None:
        """Hold the folder, which exists. Raises `FolderInUse` and what opening a file raises.

        `take_over`: also where the holder is on another machine and has been silent.
        """
        while True:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                if self._is_there():  # else its former holder removed it just now
                    self._claim(take_over)
                    break
            except BaseException:
                os.close(self._descriptor)
                raise
            os.close(self._descriptor)
        threading.Thread(target=self._renew, name="folder lock", daemon=True).start()

    def _claim(self, take_over: bool) -> None:
        locked = self._kernel_locks()
        self.former = holder = read_holder(self.path)
        if holder is not None and holder.here:
            if locked is None and holder.alive:
                raise FolderInUse(_in_use(holder))
            if holder.alive:
                self.former = None  # the file came with a copy of the folder that it holds
        elif holder is not None and not (holder.restarted or (take_over and self._silent())):
            raise FolderInUse(_elsewhere(holder, take_over))
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps(asdict(self.holder)).encode(), 0)

    def _kernel_locks(self) -> bool | None:
        """True with the kernel's lock; None where the file system has none. `FolderInUse`."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = read_holder(self.path)
            message = "another process that has just begun" if holder is None else _in_use(holder)
            raise FolderInUse(message) from None
        except OSError:
            return None
        return True

    def _silent(self) -> bool:
        """Whether the holder gives no sign of life; by changes, as clocks of machines differ."""
        seen = os.stat(self.path).st_mtime_ns
        deadline = time.monotonic() + SILENCE_SECONDS
        while time.monotonic() < deadline:
            time.sleep(0.5)
            if os.stat(self.path).st_mtime_ns != seen:
                return False
        return True

    def _is_there(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self.path))
        except FileNotFoundError:
            return False

    def check(self) -> None:
        """Raise `FolderLost` where another process has taken the folder over.

        A lock that is gone alone, as after a careless `rm`, is made again.
        """
        holder = read_holder(self.path)
        if holder is not None and holder.token != self.holder.token:
            raise FolderLost(f"{self.path.parent} was taken over by {holder}")
        if holder is None or not self._is_there():
            self._released.set()
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._released = threading.Event()
            self.acquire()

    def _renew(self) -> None:
        released = self._released
        while not released.wait(RENEWAL_SECONDS):
            holder = read_holder(self.path)
            if holder is not None and holder.token == self.holder.token:
                with contextlib.suppress(OSError):
                    os.utime(self.path)

    def release(self) -> None:
        """Let it go; the file goes with it."""
        self._released.set()
        with contextlib.suppress(OSError):
            holder = read_holder(self.path)
            if holder is not None and holder.token == self.holder.token:
                self.path.unlink()
        with contextlib.suppress(OSError):
            os.close(self._descriptor)


def read_holder(path: Path) -> Holder | None:
    """The holder that the file names; None where it names none."""
    try:
        return Holder(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def holder_of(folder: Path) -> Holder | None:
    """The process that works in the folder, as far as its file and this machine can tell."""
    holder = read_holder(folder / LOCK_FILE)
    if holder is None or holder.restarted or (holder.here and not holder.alive):
        return None
    return holder


def is_held(folder: Path) -> bool:
    """Whether somebody works in the folder, as `holder_of` tells."""
    return holder_of(folder) is not None


def _in_use(holder: Holder) -> str:
    return f"in use by {holder}; to end that one: kill {holder.pid}"


def _elsewhere(holder: Holder, take_over: bool) -> str:
    if take_over:
        return f"in use by {holder}, which still gives signs of life; end that one first"
    return (
        f"in use by {holder}, another machine: once that process is gone, --take-over goes on "
        f"after {SILENCE_SECONDS:.0f} s without a sign of life"
    )


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
