"""The store in the run's own folder: `server/` for the state, `objectives/` for snapshots."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metagenrl.base.files.atomic import remove_temporary
from metagenrl.base.files.errors import CorruptFile
from metagenrl.base.files.state_file import read_state, state_path, write_state
from metagenrl.objective_server.snapshots.find import (
    find_snapshot,
    record_best,
    snapshot_path,
    snapshot_versions,
)
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.objective_server.snapshots.version import Version

SLOTS = ("state-0", "state-1")

logger = logging.getLogger(__name__)


class FileStore:
    """`Store` on files. A commit goes over the older of two slots, so that the newer one stays.

    Without `durable` a commit survives any process being killed, and costs no disk flush; with
    it, it also survives the machine losing power. Every file read back is checked by sha256.
    """

    def __init__(self, run_dir: Path, *, durable: bool = False) -> None:
        self._run_dir = run_dir
        self._folder = run_dir / "server"
        self._durable = durable
        self._sequence: int | None = None  # of the newest commit; None until the slots are read

    def commit(self, state: Mapping[str, Any]) -> None:
        """Replace the state. Raises `OSError` (disk full): the former one is then intact."""
        if self._sequence is None:
            # What cannot be read is in nobody's way: the caller comes with a state to put there.
            with contextlib.suppress(CorruptFile):
                self.load()
            remove_temporary(self._folder)
        sequence = (self._sequence or 0) + 1
        self._folder.mkdir(exist_ok=True)
        content = {"sequence": sequence, "state": dict(state)}
        slot = SLOTS[sequence % 2]
        in_place = not self._durable and state_path(self._folder, slot).exists()
        write_state(self._folder, slot, content, durable=self._durable, in_place=in_place)
        self._sequence = sequence

    def load(self) -> dict[str, Any] | None:
        """The last state committed; a slot that a killed commit tore is skipped with a warning.

        None where nothing was ever committed; `CorruptFile` where no slot can be read.
        """
        found: list[dict[str, Any]] = []
        damage: CorruptFile | None = None
        for slot in SLOTS:
            if not state_path(self._folder, slot).exists():
                continue
            try:
                content = read_state(self._folder, slot)
                if content.keys() != {"sequence", "state"}:
                    raise CorruptFile(state_path(self._folder, slot), "another file's content")
                found.append(content)
            except CorruptFile as error:
                damage = error
                logger.warning("server state skipped: %s", error)
        if not found and damage is not None:
            raise damage
        newest = max(found, key=lambda content: int(content["sequence"]), default=None)
        self._sequence = int(newest["sequence"]) if newest else 0
        return dict(newest["state"]) if newest else None

    def put_snapshot(self, snapshot: ObjectiveSnapshot) -> None:
        """Write `objectives/objective-VERSION.safetensors` and its sidecar."""
        path = snapshot_path(self._run_dir, snapshot.version)
        path.parent.mkdir(exist_ok=True)
        snapshot.save(path, durable=self._durable)

    def snapshot(self, version: Version) -> ObjectiveSnapshot:
        """Load a snapshot. Raises `SnapshotNotFound` (listing what is there), `CorruptFile`."""
        return ObjectiveSnapshot.load(find_snapshot(self._run_dir, version))

    def snapshots(self) -> list[int]:
        """The versions in `objectives/`, ascending."""
        return snapshot_versions(self._run_dir)

    def mark_best(self, version: int, score: float, metric: str) -> None:
        """Write `objectives/best.json`. Raises `SnapshotNotFound`."""
        record_best(self._run_dir, version, score, metric)
