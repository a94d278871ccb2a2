"""The store in Redis, with the run's folder as its write-ahead copy.

Every commit is written to the folder first (`FileStore`, as without Redis) and then to Redis. So
training goes on while Redis is down, nothing is lost if any process is killed meanwhile, and what
Redis missed is delivered when it is back. Keys, below `metagenrl:RUN`:

    :state      hash: `file`, the state (Adam, round, counters, alpha) as `state_file` packs it
    :snapshots, :best    see `redis_snapshots`
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metagenrl.base.files.errors import CorruptFile
from metagenrl.base.files.state_file import pack, unpack
from metagenrl.base.files.state_pair import unpack_pair
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.objective_server.snapshots.version import Version
from metagenrl.objective_server.store.in_folder import FileStore
from metagenrl.objective_server.store.redis_link import Client, RedisLink, StoreUnavailable
from metagenrl.objective_server.store.redis_snapshots import RedisSnapshots, key

PAIR = ("document", "tensors")
"""Fields of `:state` that earlier releases wrote."""
KEYS = ("alpha", "head")
"""Keys that they wrote beside it, and nobody read."""

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
        failure: OSError | None = None
        try:
            self._local.commit(content)
        except OSError as error:
            failure = error
        try:
            self._link.call(lambda client: self._deliver(client, packed))
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

    def _deliver(self, client: Client, packed: bytes) -> None:
        """The state; the first time in the place of what an earlier release left, at once."""
        name = self._key("state")
        pipe = client.pipeline(transaction=True)
        pipe.hset(name, "file", packed)
        if not self._there:
            pipe.hdel(name, *PAIR)
            pipe.delete(*map(self._key, KEYS))
        added, *_ = pipe.execute()
        self._emptied = self._there and bool(added)
        if self._emptied:
            endpoint = self._link.address.endpoint
            logger.warning("redis %s: flushed; state and snapshots are sent there again", endpoint)
        self._there = True

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
        """The states in folder and Redis, and the reason why one of them could not be read."""
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
