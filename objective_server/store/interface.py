"""Where the server's state and the objective's snapshots are kept: the interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.objective_server.snapshots.version import Version


class Store(Protocol):
    """One run's store, with one writer at a time.

    After `commit` returns, `load` gives that state, whatever process is killed; while it runs,
    or where it raised, `load` gives that state or the one before, complete, never a mixture.
    """

    def commit(self, state: Mapping[str, Any]) -> None:
        """Replace the state. Raises `OSError` where that was not possible."""
        ...

    def load(self) -> dict[str, Any] | None:
        """The last state committed, None before the first. Raises `CorruptFile`."""
        ...

    def put_snapshot(self, snapshot: ObjectiveSnapshot) -> None:
        """Keep a snapshot under its version; one of the same version is replaced."""
        ...

    def snapshot(self, version: Version) -> ObjectiveSnapshot:
        """A snapshot by version. Raises `SnapshotNotFound` or `CorruptFile`."""
        ...

    def snapshots(self) -> list[int]:
        """The versions there are, ascending."""
        ...

    def mark_best(self, version: int, score: float, metric: str) -> None:
        """Make `version` the best, by a held-out `metric`. Raises `SnapshotNotFound`."""
        ...
