"""Versions of alpha as files, each with its row in the run's metrics."""

from __future__ import annotations

from typing import Protocol

from metagenrl.objective_server.answers import Broadcast
from metagenrl.objective_server.snapshots.find import snapshot_path
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.objective_server.store.open import open_store
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import to_dict
from metagenrl.runs.rows import MetricsRow, Moment
from metagenrl.runs.run_records import SnapshotRow


class _Rows(Protocol):
    def record(self, row: MetricsRow) -> None: ...

    def event(self, what: str, agent: int | None, message: str) -> None: ...


class SnapshotKeeper:
    """Keeps alpha under its version; the same version again is not written twice."""

    def __init__(self, config: TrainConfig, run: str) -> None:
        self._config, self._run = config, run
        self._store = open_store(config.store, run, config.run_dir)
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
        self._last, run_dir = snapshot, self._config.run_dir
        file = str(snapshot_path(run_dir, snapshot.version).relative_to(run_dir))
        rows.record(SnapshotRow(now.time, now.round, snapshot.version, file, agent_steps))
        return snapshot

    def _snapshot(self, broadcast: Broadcast, agent_steps: int) -> ObjectiveSnapshot:
        return ObjectiveSnapshot(
            alpha=broadcast.alpha,
            version=broadcast.version,
            config=to_dict(self._config.objective),
            environments=self._config.envs,
            steps=agent_steps,
            run=self._run,
        )
