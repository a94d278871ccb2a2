"""The Redis store against a real redis-server that is killed and comes back."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from fixtures.servers import check_invariants

from metagenrl.base.files.errors import CorruptFile
from metagenrl.base.files.state_codec import render_document
from metagenrl.base.files.state_file import unpack
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.objective_server.store.address import StoreAddress
from metagenrl.objective_server.store.in_redis import KEYS, RedisStore
from metagenrl.objective_server.store.redis_link import RedisLink, StoreUnavailable

GOLDEN = Path(__file__).parents[2] / "golden/pairs/inprocess/server"
KINDS = ("json", "safetensors")


class Clock:
    """Time that passes when told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def open_store(server, folder: Path, clock: Clock | None = None) -> RedisStore:
    link = RedisLink(StoreAddress.parse(server.url), "kept locally", clock or Clock())
    return RedisStore(link, "r", folder)


def state(version: int, round: int | None = None) -> dict[str, object]:
    alpha = np.full(4, version, np.float32)
    return {"alpha": alpha, "version": version, "round": version if round is None else round}


def snapshot(version: int) -> ObjectiveSnapshot:
    return ObjectiveSnapshot(np.full(3, version, np.float32), version, {}, ("A-v0",), 1, "r")


def head(server) -> tuple[int, int]:
    """The version in Redis, and how many commits there were until then."""
    file = server.client().hget("metagenrl:r:state", "file")
    content = unpack(file, "redis")
    return content["state"]["version"], content["commit"]


def test_a_reader_that_looks_all_the_time_sees_whole_commits(redis_server, tmp_path) -> None:
    store, seen, done = open_store(redis_server, tmp_path), set(), threading.Event()
    torn = []

    def watch() -> None:
        reader = open_store(redis_server, tmp_path / "none")
        while not done.is_set():
            loaded = reader.load()  # hash of document and arrays checked
            if loaded is None:
                continue
            seen.add(loaded["version"])
            if not (loaded["alpha"] == loaded["version"]).all():
                torn.append(loaded["version"])

    thread = threading.Thread(target=watch)
    thread.start()
    for version in range(300):
        store.commit(state(version))
    done.set()
    thread.join()
    assert torn == []
    assert len(seen) > 10
    assert head(redis_server) == (299, 300)


def test_commits_go_on_while_redis_is_down_and_are_delivered(redis_server, tmp_path) -> None:
    clock = Clock()
    store = open_store(redis_server, tmp_path, clock)
    for version in range(3):
        store.commit(state(version))
    redis_server.kill()
    for version in range(3, 8):
        store.commit(state(version))
        loaded = store.load()
        assert loaded is not None
        assert loaded["version"] == version
    redis_server.start()
    assert head(redis_server) == (2, 3)  # append-only file
    clock.now += 60
    store.commit(state(8))
    assert head(redis_server) == (8, 9)
    assert open_store(redis_server, tmp_path / "elsewhere").load()["version"] == 8


def test_nothing_is_lost_if_the_writer_dies_while_redis_is_down(redis_server, tmp_path) -> None:
    store = open_store(redis_server, tmp_path)
    store.commit(state(0))
    redis_server.kill()
    store.commit(state(1))
    del store
    restarted = open_store(redis_server, tmp_path)
    assert restarted.load()["version"] == 1
    redis_server.start()
    restarted = open_store(redis_server, tmp_path)
    assert restarted.load()["version"] == 1  # the folder's is newer than Redis's
    restarted.commit(state(2))
    assert open_store(redis_server, tmp_path / "elsewhere").load()["version"] == 2


def test_without_folder_and_redis_there_is_nothing_to_go_on_with(redis_server, tmp_path) -> None:
    redis_server.kill()
    with pytest.raises(StoreUnavailable, match=r"redis 127\.0\.0\.1:"):
        open_store(redis_server, tmp_path).load()


def test_a_folder_that_cannot_be_written_is_survived_but_not_both(redis_server, tmp_path) -> None:
    (tmp_path / "server").write_text("in the way")
    store = open_store(redis_server, tmp_path)
    store.commit(state(0))
    assert open_store(redis_server, tmp_path).load()["version"] == 0
    redis_server.kill()
    with pytest.raises(FileExistsError):
        store.commit(state(1))


def test_what_was_committed_is_there_after_the_writer_was_killed(redis_server, tmp_path) -> None:
    code = f"""
import itertools, pathlib, numpy as np
from metagenrl.objective_server.store.redis_link import RedisLink
from metagenrl.objective_server.store.in_redis import RedisStore
from metagenrl.objective_server.store.address import StoreAddress
link = RedisLink(StoreAddress.parse({redis_server.url!r}), "kept")
store = RedisStore(link, "r", pathlib.Path({str(tmp_path)!r}))
for version in itertools.count():
    alpha = np.full(20000, version, np.float32)
    store.commit({{"alpha": alpha, "version": version, "round": version}})
    print(version, flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    acknowledged = [int(process.stdout.readline()) for _ in range(60)]
    process.kill()
    acknowledged += [int(line) for line in process.communicate()[0].split()]
    for folder in (tmp_path, tmp_path / "elsewhere"):
        found = open_store(redis_server, folder).load()
        assert found["version"] - acknowledged[-1] in (0, 1)
        assert (found["alpha"] == found["version"]).all()


def test_a_damaged_state_in_redis_is_noticed(redis_server, tmp_path, caplog) -> None:
    store = open_store(redis_server, tmp_path)
    store.commit(state(3))
    client = redis_server.client()
    file = client.hget("metagenrl:r:state", "file")
    client.hset("metagenrl:r:state", "file", file[:-1] + bytes([file[-1] ^ 1]))
    elsewhere = open_store(redis_server, tmp_path / "elsewhere")
    with pytest.raises(CorruptFile, match="metagenrl:r:state: wrong hash"):
        elsewhere.load()
    assert store.load()["version"] == 3  # the folder's
    assert "wrong hash" in caplog.text
    pickled = b"\x80\x04."
    client.hset("metagenrl:r:state", "file", pickled + hashlib.sha256(pickled).digest())
    with pytest.raises(CorruptFile, match="not a safetensors file"):
        elsewhere.load()


def test_the_state_of_an_earlier_release_is_read(redis_server, tmp_path) -> None:
    """It wrote two fields, with the bytes of the two files that it wrote to the folder.

    What it wrote beside them goes with the first commit.
    """
    client, name = redis_server.client(), "metagenrl:r:state"
    document, tensors = ((GOLDEN / f"state-0.{kind}").read_bytes() for kind in KINDS)
    body = json.loads(document)["body"]
    body["state"] = {"commit": 7, "state": body["state"]["state"]}
    client.hset(name, mapping={"document": render_document(body), "tensors": tensors})
    for other in KEYS:
        client.hset(f"metagenrl:r:{other}", "3", b"")
    store = open_store(redis_server, tmp_path)
    found = store.load()
    assert found["version"] == body["state"]["state"]["version"]
    alpha = safetensors.numpy.load(tensors)["state/alpha"]
    np.testing.assert_array_equal(found["alpha"], alpha)
    client.hset(name, "document", b"\x80\x04.")  # a pickle
    with pytest.raises(CorruptFile, match="not a JSON state document"):
        open_store(redis_server, tmp_path / "elsewhere").load()
    store.commit(found)
    assert client.hkeys(name) == [b"file"]
    assert client.keys() == [name.encode()]
    assert open_store(redis_server, tmp_path).load()["version"] == found["version"]


def test_a_state_of_the_file_store_is_not_taken_for_ours(redis_server, tmp_path) -> None:
    from metagenrl.objective_server.store.in_folder import FileStore

    FileStore(tmp_path).commit(state(9))
    store = open_store(redis_server, tmp_path)
    assert store.load() is None
    store.commit(state(4))
    assert store.load()["version"] == 4


def test_snapshots_that_redis_missed_follow(redis_server, tmp_path) -> None:
    clock = Clock()
    store = open_store(redis_server, tmp_path, clock)
    store.put_snapshot(snapshot(1))
    redis_server.kill()
    store.put_snapshot(snapshot(2))
    store.mark_best(2, 1.5, "return")
    assert store.snapshot("last").version == 2
    redis_server.start()
    elsewhere = open_store(redis_server, tmp_path / "elsewhere")
    assert elsewhere.snapshots() == [1]
    clock.now += 60
    store.put_snapshot(snapshot(3))
    assert elsewhere.snapshots() == [1, 2, 3]
    assert elsewhere.snapshot("best").version == 2
    assert elsewhere.snapshot(2).checksum == store.snapshot(2).checksum


def test_at_the_end_redis_gets_the_rest_although_its_link_still_waits(
    redis_server, tmp_path
) -> None:
    store = open_store(redis_server, tmp_path)  # its clock stands still: it never tries again
    store.commit(state(1))
    redis_server.kill()
    store.commit(state(2))
    redis_server.start()
    store.commit(state(3))
    store.put_snapshot(snapshot(3))
    assert head(redis_server)[0] == 1
    assert redis_server.client().hkeys("metagenrl:r:snapshots") == []
    open_store(redis_server, tmp_path).deliver()
    elsewhere = open_store(redis_server, tmp_path / "elsewhere")
    assert elsewhere.load() == {"version": 3, "round": 3} | {"alpha": pytest.approx(np.full(4, 3))}
    assert elsewhere.snapshots() == [3]


def test_a_server_goes_on_through_an_outage(
    redis_server, tmp_path, make_server, make_gradient
) -> None:
    clock = Clock()
    store = open_store(redis_server, tmp_path, clock)
    server = make_server(store=store)
    for round_ in range(20):
        if round_ == 5:
            redis_server.kill()
        if round_ == 12:
            redis_server.start()
            clock.now += 60
        if round_ == 9:  # its process dies while Redis is down
            store = open_store(redis_server, tmp_path, clock)
            server = make_server(store=store)
            assert (server.version, server.round) == (9, 9)
        for agent in range(2):
            g = make_gradient(agent, round=round_, version=round_)
            assert server.submit([g]) == (None,)
        assert server.close_round(round_).version == round_ + 1
    check_invariants(server)
    from_redis = make_server(store=open_store(redis_server, tmp_path / "elsewhere"))
    assert from_redis.broadcast().alpha.tobytes() == server.broadcast().alpha.tobytes()
    assert (from_redis.version, from_redis.round) == (20, 20)
    check_invariants(from_redis)
