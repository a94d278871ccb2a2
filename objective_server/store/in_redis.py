"""The store in Redis, with the run's folder as its write-ahead copy.

Every commit is written to the folder first (`FileStore`, as without Redis) and then, as one
MULTI/EXEC transaction, to Redis. So training goes on while Redis is down, nothing is lost if any
process is killed meanwhile, and what Redis missed is delivered when it is back. Keys, below
`metagenrl:RUN`:

    :state      hash: `file`, the state (Adam, round, counters, alpha) as `state_file` packs it
    :alpha      hash: alpha by version, float32 in little-endian order; the newest KEPT_VERSIONS
    :head       hash: version, round, commit of the newest alpha
    :snapshots, :best    see `redis_snapshots`
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from metagenrl.base.files.errors import CorruptFile
from metagenrl.base.files.state_file import pack, unpack
from metagenrl.base.files.state_pair import unpack_pair
from metagenrl.objective_server.aggregate import Array
from metagenrl.objective_server.snapshots.errors import SnapshotNotFound
from metagenrl.objective_server.snapshots.find import Version
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.objective_server.store.in_folder import FileStore
from metagenrl.objective_server.store.redis_link import Client, RedisLink, StoreUnavailable
from metagenrl.objective_server.store.redis_snapshots import RedisSnapshots, key, versions_in

KEPT_VERSIONS = 64
"""Versions of alpha that Redis holds."""

PAIR = ("document", "tensors")
"""Fields of `:state` that earlier releases wrote."""

NOTHING_THERE = (
    "has nothing of this run (flushed, another server or another database): it goes on from its "
    "folder, and what comes is sent there"
)

logger = logging.getLogger(__name__)


class RedisStore:
    """`Store` in Redis and in the folder `run_dir`; the newer of two states counts.

    With `durable` the folder's files are also flushed to the disk.
    """

    def __init__(self, link: RedisLink, run: str, run_dir: Path, *, durable: bool = False) -> None:
        self._link, self._run = link, run
        self._local = FileStore(run_dir, durable=durable)
        self._commits: int | None = None  # of the newest state; None until it was looked for
        self._undelivered: dict[int, bytes] = {}  # alpha by version
        self._delivered: list[int] | None = None  # versions in Redis; None until it was asked
        self._emptied = False  # what it had before is gone
        self._there = False  # whether Redis has had a commit of this process
        self._snapshots = RedisSnapshots(link, run, run_dir, self._local)

    def commit(self, state: Mapping[str, Any]) -> None:
        """Replace the state. Raises `OSError` where neither folder nor Redis could take it."""
        if self._commits is None:
            self._commits = self._newest_commit()
        commits = self._commits + 1
        content = {"commit": commits, "state": dict(state)}
        packed = pack(content)
        self._remember_alpha(state)
        failure: OSError | None = None
        try:
            self._local.commit(content)
        except OSError as error:
            failure = error
        try:
            self._link.call(lambda client: self._deliver(client, packed, state, commits))
        except StoreUnavailable as error:
            if failure is not None:
                raise failure from error
        else:
            if failure is not None:
                logger.warning("not written to the folder (%s), but to redis", failure.strerror)
        self._commits = commits
        if self._emptied:
            self._emptied = False
            self._snapshots.deliver()

    def deliver(self) -> None:
        """Send what Redis missed while it was down, as far as it is back.

        For the end of a run: nothing comes after it that would take the rest along. With a link
        that has failed lately this may be too soon, so open a store for it.
        """
        state = self.load()
        if state is not None:
            self.commit(state)
        self._snapshots.deliver()

    def _newest_commit(self) -> int:
        # What cannot be read is in nobody's way: the caller comes with a state to put there.
        try:
            return max(int(found["commit"]) for found in self._found()[0])
        except ValueError:
            return 0

    def _remember_alpha(self, state: Mapping[str, Any]) -> None:
        if "alpha" in state and "version" in state:
            alpha = np.asarray(state["alpha"], dtype="<f4")
            self._undelivered[int(state["version"])] = alpha.tobytes()
        while len(self._undelivered) > KEPT_VERSIONS:
            del self._undelivered[next(iter(self._undelivered))]

    def _deliver(
        self, client: Client, packed: bytes, state: Mapping[str, Any], commits: int
    ) -> None:
        """The state, and every alpha that Redis has not had, in one transaction."""
        alphas, head = self._key("alpha"), {"commit": commits}
        if self._delivered is None:
            self._delivered = versions_in(client, alphas)
        outdated: list[int] = []
        if self._undelivered:
            newest = int(state["version"])
            head |= {"version": newest, "round": int(state.get("round", 0))}
            # Later ones are there where the run went back to a checkpoint.
            outdated = [v for v in self._delivered if not newest - KEPT_VERSIONS < v <= newest]
        pipe = client.pipeline(transaction=True)
        pipe.hset(self._key("state"), "file", packed)
        pipe.hset(self._key("head"), mapping=head)
        if not self._there:
            pipe.hdel(self._key("state"), *PAIR)
        if outdated:
            pipe.hdel(alphas, *map(str, outdated))
        if self._undelivered:
            pipe.hset(alphas, mapping={str(v): a for v, a in self._undelivered.items()})
        _, added, *_ = pipe.execute()
        self._emptied = self._there and bool(added)
        if self._emptied:
            logger.warning(
                "redis %s: flushed; the newest state is there again, earlier versions of alpha "
                "are not, nothing is missing in the run's folder", self._link.address.endpoint
            )  # fmt: skip
            self._delivered = []
        self._there = True
        self._delivered = sorted({*self._delivered, *self._undelivered} - {*outdated})
        self._undelivered = {}

    def load(self) -> dict[str, Any] | None:
        """The newer of the folder's and Redis's states, None where there is neither.

        Raises `CorruptFile` where there is none that can be read, and `StoreUnavailable` where
        the folder has none and Redis does not answer.
        """
        found, trouble = self._found()
        if not found:
            if trouble is not None:
                raise trouble
            return None
        newest = max(found, key=lambda content: int(content["commit"]))
        self._commits = int(newest["commit"])
        return dict(newest["state"])

    def _found(self) -> tuple[list[dict[str, Any]], Exception | None]:
        """What folder and Redis hold, and the reason why one of them could not be read."""
        found: list[dict[str, Any]] = []
        trouble: Exception | None = None
        for read in (self._from_folder, self._from_redis):
            try:
                content = read()
            except (CorruptFile, StoreUnavailable) as error:
                logger.warning("server state: %s", error)
                trouble = error
            else:
                found += [content] if content is not None else []
                if content is None and found and read == self._from_redis:
                    where = f"redis {self._link.address.endpoint}"
                    logger.warning("%s: %s", where, NOTHING_THERE)
        return found, trouble

    def _from_folder(self) -> dict[str, Any] | None:
        content = self._local.load()
        # A run that went without Redis before has left a state of another form there.
        return content if content is not None and content.keys() == {"commit", "state"} else None

    def _from_redis(self) -> dict[str, Any] | None:
        name = self._key("state")
        parts = self._link.call(lambda client: client.hgetall(name))
        if not parts:
            return None
        where = f"{self._link.address}/{name}"
        if b"file" in parts:
            return unpack(parts[b"file"], where)
        document, tensors = (parts.get(field.encode(), b"") for field in PAIR)
        return unpack_pair(document, tensors, where)

    def alpha(self, version: int) -> Array:
        """Alpha `[P]` of one of the newest `KEPT_VERSIONS` versions, as committed.

        Raises `SnapshotNotFound` or `StoreUnavailable`.
        """
        name = self._key("alpha")
        data = self._link.call(lambda client: client.hget(name, str(version)))
        if data is None:
            there = ", ".join(map(str, self.alpha_versions()))
            raise SnapshotNotFound(f"{self._link.address}/{name}", str(version), there or "none")
        return np.frombuffer(data, "<f4").astype(np.float32)

    def alpha_versions(self) -> list[int]:
        """The versions that `alpha` has, ascending. Raises `StoreUnavailable`."""
        return self._link.call(lambda client: versions_in(client, self._key("alpha")))

    def put_snapshot(self, snapshot: ObjectiveSnapshot) -> None:
        self._snapshots.put(snapshot)

    def snapshot(self, version: Version) -> ObjectiveSnapshot:
        return self._snapshots.get(version)

    def snapshots(self) -> list[int]:
        return self._snapshots.versions()

    def mark_best(self, version: int, score: float, metric: str) -> None:
        self._snapshots.mark_best(version, score, metric)

    def _key(self, name: str) -> str:
        return key(self._run, name)
