"""A run's objective snapshots in Redis, beside those in its folder.

metagenrl:RUN:snapshots  hash: the snapshots' safetensors files by version
metagenrl:RUN:best       JSON: the version that a held-out evaluation picked
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from metagenrl.objective_server.snapshots.errors import SnapshotNotFound
from metagenrl.objective_server.snapshots.find import read_best
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.objective_server.snapshots.version import Version
from metagenrl.objective_server.store.in_folder import FileStore
from metagenrl.objective_server.store.redis_link import Client, RedisLink, StoreUnavailable


def key(run: str, name: str) -> str:
    """The Redis key of a part of a run."""
    return f"metagenrl:{run}:{name}"


def versions_in(client: Client, name: str) -> list[int]:
    """The fields of a hash by version, ascending."""
    return sorted(map(int, client.hkeys(name)))


class RedisSnapshots:
    """Snapshots are written to the folder and sent to Redis; what it missed follows later.

    A process on another machine, which has no such folder, reads them from Redis.
    """

    def __init__(self, link: RedisLink, run: str, run_dir: Path, local: FileStore) -> None:
        self._link, self._run_dir, self._local = link, run_dir, local
        self._hash, self._note = key(run, "snapshots"), key(run, "best")

    def put(self, snapshot: ObjectiveSnapshot) -> None:
        """Keep a snapshot under its version. Raises `OSError` where the folder cannot take it."""
        self._local.put_snapshot(snapshot)
        self.deliver(replaced=snapshot.version)

    def mark_best(self, version: int, score: float, metric: str) -> None:
        """Make `version` the best. Raises `SnapshotNotFound`."""
        self._local.mark_best(version, score, metric)
        self.deliver()

    def deliver(self, replaced: int | None = None) -> None:
        """Send everything that Redis has not, and the one that was replaced."""
        with contextlib.suppress(StoreUnavailable):  # the link has said so
            self._link.call(lambda client: self._deliver(client, replaced))

    def _deliver(self, client: Client, replaced: int | None) -> None:
        there = {*versions_in(client, self._hash)} - {replaced}
        for version in self._local.snapshots():
            if version not in there:
                data = self._local.snapshot(version).to_bytes()
                client.hset(self._hash, str(version), data)
        best = read_best(self._run_dir)
        if best is not None:
            client.set(self._note, json.dumps(best))

    def versions(self) -> list[int]:
        """The folder's, ascending, or Redis's where that has none."""
        local = self._local.snapshots()
        return local or self._link.call(lambda client: versions_in(client, self._hash))

    def get(self, version: Version) -> ObjectiveSnapshot:
        """The folder's, or Redis's where that has none.

        Raises `SnapshotNotFound` (listing what is there), `CorruptFile`, `StoreUnavailable`.
        """
        if self._local.snapshots():
            return self._local.snapshot(version)
        return self._link.call(lambda client: self._read(client, version))

    def _read(self, client: Client, version: Version) -> ObjectiveSnapshot:
        there = versions_in(client, self._hash)
        note = client.get(self._note) if version == "best" else None
        if note is not None:
            number = int(json.loads(note)["version"])
        else:
            number = version if isinstance(version, int) else max(there, default=-1)
        data = client.hget(self._hash, str(number))
        where = f"{self._link.address}/{self._hash}"
        if data is None:
            listed = f"versions {', '.join(map(str, there))}" if there else "none"
            raise SnapshotNotFound(where, str(version), listed)
        return ObjectiveSnapshot.from_bytes(data, where)
