"""A Redis that is full, flushed, replaced or another database: the folder has all that counts."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.objective_server.store.address import StoreAddress
from metagenrl.objective_server.store.in_redis import RedisStore
from metagenrl.objective_server.store.redis_link import RedisLink


class Clock:
    """Time that passes when told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


CLOCK = Clock()


def store_at(url: str, folder: Path) -> RedisStore:
    folder.mkdir(exist_ok=True)
    return RedisStore(RedisLink(StoreAddress.parse(url), "kept locally", CLOCK), "r", folder)


def state(version: int) -> dict[str, object]:
    return {"alpha": np.full(50_000, version, np.float32), "version": version, "round": version}


def version_in(url: str, tmp_path: Path) -> int | None:
    """That of the state that Redis alone has."""
    found = store_at(url, tmp_path / "nothing").load()
    return None if found is None else int(found["version"])


def test_a_full_one_is_told_and_gets_what_it_missed(redis_server, tmp_path, caplog) -> None:
    store = store_at(redis_server.url, tmp_path / "run")
    client = redis_server.client()
    client.config_set("maxmemory-policy", "noeviction")
    store.commit(state(1))
    client.config_set("maxmemory", 1)
    for version in (2, 3):
        CLOCK.now += 100
        store.commit(state(version))
    told = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert ["OOM" in line or "maxmemory" in line for line in told] == [True]
    assert "kept locally" in told[0]
    assert version_in(redis_server.url, tmp_path) == 1, "half a commit is in Redis"
    client.config_set("maxmemory", 0)
    CLOCK.now += 100
    store.commit(state(4))
    assert version_in(redis_server.url, tmp_path) == 4


def test_a_flushed_one_is_told_and_filled_again(redis_server, tmp_path, caplog) -> None:
    store = store_at(redis_server.url, tmp_path / "run")
    store.commit(state(1))
    store.put_snapshot(ObjectiveSnapshot(np.zeros(3, np.float32), 1, {}, ("A-v0",), 1, "r"))
    assert caplog.text == ""
    redis_server.client().flushall()
    store.commit(state(2))
    assert "flushed; state and snapshots are sent there again" in caplog.text
    assert version_in(redis_server.url, tmp_path) == 2
    assert redis_server.client().hkeys("metagenrl:r:snapshots") == [b"1"]
    caplog.clear()
    store.commit(state(3))
    assert caplog.text == ""


@pytest.mark.parametrize("change", ["flush", "database"])
def test_a_resumed_run_says_that_it_goes_on_from_its_folder(
    redis_server, tmp_path, caplog, change: str
) -> None:
    store_at(redis_server.url, tmp_path / "run").commit(state(5))
    url = redis_server.url
    if change == "flush":
        redis_server.client().flushall()
    else:
        url = url.removesuffix("/0") + "/3"
    resumed = store_at(url, tmp_path / "run")
    found = resumed.load()
    assert found is not None
    assert found["version"] == 5
    assert "has nothing of this run (flushed, another server or another database)" in caplog.text
    resumed.commit(state(6))
    assert version_in(url, tmp_path) == 6


def test_a_replica_that_may_not_be_written_to_is_told(redis_server, tmp_path, caplog) -> None:
    """What a failover leaves for a while: the old address is a read-only replica."""
    store = store_at(redis_server.url, tmp_path / "run")
    store.commit(state(1))
    redis_server.client().config_set("replica-read-only", "yes")
    redis_server.client().replicaof("127.0.0.1", 9)
    CLOCK.now += 100
    store.commit(state(2))
    assert "read only" in caplog.text.lower()
    redis_server.client().replicaof("NO", "ONE")
    CLOCK.now += 100
    store.commit(state(3))
    assert version_in(redis_server.url, tmp_path) == 3
