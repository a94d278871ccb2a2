"""One process goes on with a run at a time, and what answers for it says in which folder it works.

A copy of a run's folder has the run's id, by which mailboxes and stores are named. A run that is
resumed therefore claims its id where others of its kind would be reached, and a command looks
whether the folder that it was given is the one that answers.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from metagenrl.base.checks import UsageError
from metagenrl.base.files.folder_lock import LOCK_FILE, Holder, read_holder

SILENCE_SECONDS = 30.0
"""Without a sign of life, after which a driver on another machine counts as gone."""
LOOK_SECONDS = 1.0
"""Between two looks for one."""


@dataclass(frozen=True)
class Driver:
    """The process that goes on with a run."""

    folder: str  # absolute
    holder: Holder

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Driver:
        """Undo `to_json`."""
        return cls(values["folder"], Holder(**values["holder"]))

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    def works_in(self, folder: Path) -> bool:
        """Whether `folder` is its folder, by whichever name or mount, and no copy."""
        if self.holder.here:
            with contextlib.suppress(OSError):  # its folder has been moved
                return os.path.samefile(folder, self.folder)
        found = read_holder(folder / LOCK_FILE)
        return found is not None and found.token == self.holder.token

    def gives_way_to(self, other: Driver) -> bool:
        """Whether `other` may go on: this one has ended, or `other` holds its very folder."""
        if self.holder.token == other.holder.token or self.holder.restarted:
            return True
        if not self.holder.here:
            return False
        return not self.holder.alive or self.works_in(Path(other.folder))

    def __str__(self) -> str:
        return f"{self.folder} ({self.holder})"


@dataclass(frozen=True)
class Rival:
    """Another driver of a run, with a number that changes as long as it gives signs of life."""

    driver: Driver
    signs: int


def claim(run: str, driver: Driver, rival: Callable[[], Rival | None]) -> None:
    """Make `driver` the one that goes on with `run`.

    `rival` tries, and finds the driver that is in the way. One that is alive is refused with
    `UsageError`; one on another machine is watched for a while, as only its signs tell that.
    """
    deadline, seen = time.monotonic() + SILENCE_SECONDS, None
    while (found := rival()) is not None:
        if found.driver.holder.here or seen not in (None, found) or time.monotonic() > deadline:
            raise UsageError(
                f"resume: got {driver.folder!r} (its run, {run}, goes on in {found.driver}), "
                "allowed: one process for a run, and a copy of its folder is the same run; to end "
                f"that one: metagenrl stop {shlex.quote(found.driver.folder)}"
            )
        if seen is None:
            wait = f"waiting up to {SILENCE_SECONDS:.0f} s for its end"
            print(f"run {run} went on in {found.driver}: {wait}", flush=True)
        seen = found
        time.sleep(LOOK_SECONDS)


class GoesOnElsewhere(ConnectionError):  # noqa: N818 - reads as the state it is
    """What answers for a folder works in another one."""


def require_same(run: str, driver: Driver | None, folder: Path) -> None:
    """Raise `GoesOnElsewhere` where `driver`, which answers for `run`, works not in `folder`."""
    if driver is not None and not driver.works_in(folder):
        raise GoesOnElsewhere(f"its run, {run}, goes on in {driver}")
