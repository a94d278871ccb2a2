"""The way through Redis: every request arrives once, and nothing outlives what it is for."""

from __future__ import annotations

import threading
import time

import pytest

from metagenrl.base.files.folder_lock import Holder
from metagenrl.cluster.control import desk as desk_module
from metagenrl.cluster.control.by_redis import RedisMailbox, RedisRemote
from metagenrl.cluster.control.claim import Driver
from metagenrl.cluster.control.desk import Answer, ControlDesk, PopulationStatus, Request
from metagenrl.cluster.view.status import RunStatus
from metagenrl.commands.main import main
from metagenrl.objective_server.store.address import StoreAddress

STATUS = PopulationStatus("running", 3, 2, 1.5, RunStatus("r", 7, 5, 1.0, 10, 20, None, []))

HERE = Driver("/runs/r", Holder.this_process())


@pytest.fixture
def ends(redis_server) -> tuple[RedisMailbox, RedisRemote]:
    address = StoreAddress.parse(redis_server.url)
    return RedisMailbox(address, "r", HERE), RedisRemote("r", address)


def test_the_status_expires_unless_it_is_renewed(ends, redis_server) -> None:
    mailbox, remote = ends
    assert remote.status() is None
    mailbox.exchange(STATUS.to_json(), [])
    assert remote.status() == STATUS
    client = redis_server.client()
    assert 0 < client.ttl("metagenrl:r:status") <= 30
    client.expire("metagenrl:r:status", 2)
    mailbox.exchange(STATUS.to_json(), [])
    assert client.ttl("metagenrl:r:status") > 2
    mailbox.close()
    assert remote.status() is None


def _ask(remote: RedisRemote, request: Request, replies: list[object]) -> threading.Thread:
    def ask() -> None:
        try:
            replies.append(remote.ask(request, 30.0))
        except ConnectionError as error:
            replies.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def _take(mailbox: RedisMailbox) -> list[Request]:
    deadline = time.monotonic() + 30
    while not (requests := mailbox.exchange(STATUS.to_json(), [])):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return requests


def test_a_request_arrives_once_and_has_its_own_answer(ends, redis_server) -> None:
    mailbox, remote = ends
    mailbox.exchange(STATUS.to_json(), [])
    request, replies = Request("scale", 5, rejoin=True), []
    thread = _ask(remote, request, replies)
    assert _take(mailbox) == [request]
    answer = Answer(request.id, "done", "now 5 agents")
    assert mailbox.exchange(STATUS.to_json(), [Answer("other", "failed", "no"), answer]) == []
    thread.join()
    assert replies == [answer]
    assert 0 < redis_server.client().ttl(f"metagenrl:r:answer:{request.id}") <= 3600


def test_what_was_asked_of_an_earlier_process_is_forgotten(ends, redis_server) -> None:
    mailbox, remote = ends
    mailbox.exchange(STATUS.to_json(), [])
    assert remote.ask(Request("stop"), 0.0) is None  # withdrawn, nobody having seen it
    assert mailbox.exchange(None, []) == []
    redis_server.client().rpush("metagenrl:r:requests", '{"action": "stop"}')
    later = RedisMailbox(StoreAddress.parse(redis_server.url), "r", HERE)
    assert later.exchange(None, []) == []
    assert later.exchange(None, []) == []


def test_a_run_that_ends_without_an_answer_is_noticed(ends) -> None:
    mailbox, remote = ends
    mailbox.exchange(STATUS.to_json(), [])
    replies: list[object] = []
    thread = _ask(remote, Request("pause"), replies)
    _take(mailbox)
    mailbox.close()
    thread.join()
    assert replies == ["the run has ended"]


def test_the_first_status_is_out_at_once(ends, monkeypatch) -> None:
    """A run can be asked from its first round on."""
    monkeypatch.setattr(desk_module, "FETCH_INTERVAL", 1000.0)
    mailbox, remote = ends
    desk = ControlDesk(mailbox)
    desk.post(lambda: STATUS)
    deadline = time.monotonic() + 60
    while remote.status() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    desk.close()


def test_the_desk_survives_an_outage_and_loses_no_answer(ends, redis_server, caplog) -> None:
    mailbox, remote = ends
    desk = ControlDesk(mailbox)
    desk.post(lambda: STATUS)
    request, replies = Request("pause"), []
    deadline = time.monotonic() + 60
    while remote.status() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    thread = _ask(remote, request, replies)
    while not (requests := desk.requests()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert requests == [request]
    redis_server.kill()
    thread.join()
    assert "refused" in str(replies) or "closed" in str(replies)
    desk.answer(request, "done", "paused in round 7")
    desk.post(lambda: STATUS)
    while "out of reach" not in caplog.text:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    redis_server.start()
    key = f"metagenrl:r:answer:{request.id}"
    while redis_server.client().get(key) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    desk.close()


def test_top_asks_a_run_whose_folder_is_elsewhere(ends, redis_server, capsys) -> None:
    mailbox, _ = ends
    words = ["top", "r", "--store", redis_server.url, "--once"]
    with pytest.raises(SystemExit) as error:
        main(words)
    assert error.value.code == 1
    assert capsys.readouterr().err == "r: not going on (nothing answers)\n"
    mailbox.exchange(STATUS.to_json(), [])
    main(words)
    assert f"round {STATUS.run.round} | version {STATUS.run.version}" in capsys.readouterr().out
