"""What every store must do. A further store joins by adding its name to `STORES`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from metagenrl.objective_server.snapshots.errors import SnapshotNotFound
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.objective_server.store.address import StoreAddress
from metagenrl.objective_server.store.in_folder import FileStore
from metagenrl.objective_server.store.in_redis import RedisStore
from metagenrl.objective_server.store.interface import Store
from metagenrl.objective_server.store.redis_link import RedisLink

STORES = ("file", "durable file", "redis", "redis, read from another machine")


def connect_to(name: str, folder: Path, request: pytest.FixtureRequest) -> Callable[[], Store]:
    """Each call connects to the same store, as a new process would."""
    folder.mkdir(exist_ok=True)
    if not name.startswith("redis"):
        return lambda: FileStore(folder, durable=name.startswith("durable"))
    address = StoreAddress.parse(request.getfixturevalue("redis_server").url)
    folders = itertools.count()

    def connect() -> Store:
        here = folder / str(next(folders)) if "machine" in name else folder
        here.mkdir(exist_ok=True)
        return RedisStore(RedisLink(address, "kept"), "r", here)

    return connect


def snapshot(version: int, run: str = "r") -> ObjectiveSnapshot:
    alpha = np.full(3, version + 0.5, np.float32)
    return ObjectiveSnapshot(alpha, version, {"lstm_units": 2}, ("A-v0",), version * 10, run)


@pytest.mark.parametrize("name", STORES)
class TestStoreConformance:
    """The contract of `Store`."""

    @pytest.fixture
    def connect(self, name: str, tmp_path: Path, request) -> Callable[[], Store]:
        return connect_to(name, tmp_path / "run", request)

    def test_empty(self, connect) -> None:
        store = connect()
        assert store.load() is None
        assert store.snapshots() == []
        with pytest.raises(SnapshotNotFound):
            store.snapshot("last")

    def test_the_last_commit_is_loaded_by_anyone(self, connect) -> None:
        store = connect()
        for k in range(5):
            store.commit({"k": k, "nested": {"a": np.full(2, k, np.float32)}, "big": 2**127 + k})
            for reader in (store, connect()):
                found = reader.load()
                assert (found["k"], found["big"]) == (k, 2**127 + k)
                assert found["nested"]["a"].tobytes() == np.full(2, k, np.float32).tobytes()

    def test_a_new_connection_goes_on(self, connect) -> None:
        for k in range(5):
            connect().commit({"k": k})
            assert connect().load() == {"k": k}

    def test_what_was_loaded_is_a_copy(self, connect) -> None:
        store, mine = connect(), np.zeros(2, np.float32)
        store.commit({"a": mine})
        mine[:] = 7
        store.load()["a"][:] = 8
        np.testing.assert_array_equal(store.load()["a"], [0, 0])

    def test_a_refused_state_leaves_the_former_one(self, connect) -> None:
        store = connect()
        store.commit({"k": 1})
        for _ in range(3):
            with pytest.raises(ValueError, match="k: got object"):
                store.commit({"k": object()})
        assert connect().load() == {"k": 1}
        store.commit({"k": 2})
        assert connect().load() == {"k": 2}

    def test_snapshots_by_version_and_word(self, connect) -> None:
        store = connect()
        for version in (0, 12, 7):
            store.put_snapshot(snapshot(version))
        assert connect().snapshots() == [0, 7, 12]
        assert connect().snapshot(7).checksum == store.snapshot(7).checksum
        assert store.snapshot(7).alpha.tolist() == [7.5] * 3
        assert store.snapshot("last").version == 12
        assert store.snapshot("best").version == 12  # none was picked yet
        store.mark_best(7, 3.5, "held-out return")
        assert connect().snapshot("best").version == 7
        store.put_snapshot(snapshot(20))
        assert store.snapshot("best").version == 7
        assert store.snapshot("last").version == 20

    def test_a_snapshot_can_be_replaced(self, connect) -> None:
        store = connect()
        store.put_snapshot(snapshot(3, run="first"))
        store.put_snapshot(snapshot(3, run="second"))
        assert store.snapshots() == [3]
        assert store.snapshot(3).run == "second"

    def test_unknown_versions_list_what_is_there(self, connect) -> None:
        store = connect()
        for version in (1, 2):
            store.put_snapshot(snapshot(version))
        for ask in (lambda: store.snapshot(5), lambda: store.mark_best(5, 0.0, "return")):
            with pytest.raises(SnapshotNotFound, match="'5', there: versions 1, 2"):
                ask()
