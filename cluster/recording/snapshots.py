"""Versions of alpha as files, each with its row in the run's metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from metagenrl.learner.hyperparams import ObjectiveConfig
from metagenrl.objective_server.answers import Broadcast
from metagenrl.objective_server.snapshots.find import snapshot_path
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.objective_server.store.interface import Store
from metagenrl.runs.config.yaml import to_dict
from metagenrl.runs.rows import MetricsRow, Moment
from metagenrl.runs.run_records import SnapshotRow


class _Rows(Protocol):
    def record(self, row: MetricsRow) -> None: ...

    def event(self, what: str, agent: int | None, message: str) -> None: ...


class SnapshotKeeper:
    """Keeps alpha under its version; the same version again is not written twice."""

    def __init__(
        self,
        store: Store,
        run_dir: Path,
        run: str,
        objective: ObjectiveConfig,
        environments: tuple[str, ...],
    ) -> None:
        self._store, self._run_dir, self._run = store, run_dir, run
        self._objective, self._environments = to_dict(objective), environments
        self._last: ObjectiveSnapshot | None = None

    def keep(
        self, broadcast: Broadcast, agent_steps: int, now: Moment, rows: _Rows
    ) -> ObjectiveSnapshot:
        """Write it; where the disk is full that is an event, and training goes on."""
        try:
            return self.write(broadcast, agent_steps, now, rows)
        except OSError as error:
            rows.event("snapshot failed", None, f"snapshot failed: {error.strerror}")
            return self._snapshot(broadcast, agent_steps)

    def write(
        self, broadcast: Broadcast, agent_steps: int, now: Moment, rows: _Rows
    ) -> ObjectiveSnapshot:
        """Write it. Raises `OSError` where that is not possible."""
        if self._last is not None and self._last.version == broadcast.version:
            return self._last
        snapshot = self._snapshot(broadcast, agent_steps)
        self._store.put_snapshot(snapshot)
        self._last = snapshot
        file = str(snapshot_path(self._run_dir, snapshot.version).relative_to(self._run_dir))
        rows.record(SnapshotRow(now.time, now.round, snapshot.version, file, agent_steps))
        return snapshot

    def _snapshot(self, broadcast: Broadcast, agent_steps: int) -> ObjectiveSnapshot:
        return ObjectiveSnapshot(
            alpha=broadcast.alpha,
            version=broadcast.version,
            config=self._objective,
            environments=self._environments,
            steps=agent_steps,
            run=self._run,
        )
