"""The line between driver and actor, and the driver's board of lines, without Ray."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray.exceptions import ActorDiedError

from metagenrl.agents.reports import CohortReport
from metagenrl.cluster.engines import losses
from metagenrl.cluster.engines.actors import RoundOrder, StateOrder
from metagenrl.cluster.engines.channel import Channel, ChannelLost, Raised, Reception, requests
from metagenrl.cluster.engines.interface import Lost
from metagenrl.cluster.engines.switchboard import Switchboard

HERE = "127.0.0.1"


@pytest.fixture
def reception() -> Iterator[Reception]:
    reception = Reception(HERE, timeout=0.3)
    yield reception
    reception.close()


def ends(reception: Reception) -> tuple[Channel, Channel]:
    """The driver's and an actor's."""
    actor = reception.invitation(7).accept()
    called = reception.receive()
    assert called is not None
    assert called[0] == 7
    return called[1], actor


def test_messages_keep_their_values_and_large_arrays_can_be_written_to(reception) -> None:
    driver, actor = ends(reception)
    sent = {"small": (1, "a", None), "large": np.arange(300_000, dtype=np.float32)}
    thread = threading.Thread(target=driver.send, args=(sent,))
    thread.start()
    (found,) = [next(iter(requests(actor)))]
    thread.join()
    assert found["small"] == sent["small"]
    np.testing.assert_array_equal(found["large"], sent["large"])
    found["large"][0] = 1.0


def test_who_does_not_know_the_secret_is_turned_away_and_the_next_is_heard(reception) -> None:
    invitation = reception.invitation(0)
    for said in (b"", b"x" * 40, bytes(7)):
        with socket.create_connection((invitation.host, invitation.port)) as stranger:
            stranger.sendall(said)
            stranger.shutdown(socket.SHUT_WR)
            assert reception.receive() is None
            assert stranger.recv(1) == b""
    ends(reception)


def test_an_end_that_is_gone_or_stops_in_the_middle_is_lost_in_time(reception) -> None:
    driver, actor = ends(reception)
    actor._end.sendall(bytes([1, 0, 0]))
    with pytest.raises(ChannelLost, match="timed out"):
        driver.receive()
    driver, actor = ends(reception)
    driver.close()
    assert list(requests(actor)) == []
    with pytest.raises(ChannelLost, match="not sent"):
        actor.send("x" * 50_000_000)


def test_an_error_that_cannot_be_sent_is_sent_in_words() -> None:
    class Local(Exception):  # noqa: N818 - of a class that no other process can import
        pass

    assert isinstance(Raised.of(ValueError("a")).error, ValueError)
    sent = Raised.of(Local("why"))
    assert type(sent.error) is RuntimeError
    assert "why" in str(sent.error)


class Handle:
    """Looks like an actor's; remembers its invitation."""

    def __init__(self) -> None:
        self.serve = SimpleNamespace(remote=self._serve)
        self.dead = False

    def _serve(self, invitation: Any) -> Handle:
        self.invitation = invitation
        return self


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Iterator[Switchboard]:
    """On a Ray that knows at once who is dead."""

    def wait(calls: list[Handle], num_returns: int, timeout: float) -> tuple[list[Handle], None]:
        return [call for call in calls if call.dead], None

    monkeypatch.setattr("ray.wait", wait)
    monkeypatch.setattr("ray.get", lambda call: None)
    monkeypatch.setattr("ray.kill", lambda handle: None)
    board = Switchboard(HERE, timeout=5.0)
    yield board
    board.close()


def order(*agents: int) -> RoundOrder:
    return RoundOrder(agents, np.zeros(3, np.float32), 0, 0, {}, ())


def test_answers_of_the_living_and_the_loss_of_the_dead(board: Switchboard) -> None:
    handles = [Handle(), Handle()]
    hosts = [board.engage(handle, 1.0) for handle in handles]
    for agent, host in enumerate(hosts):
        board.send(host, order(agent))  # before it has called
    first, second = [handle.invitation.accept() for handle in handles]
    board.hear_until(lambda: all(host.channel for host in hosts), 5.0)
    assert first.receive().agents == (0,)
    first.send(CohortReport((), (), None))
    second.close()
    board.hear_until(lambda: hosts[1].broken, 5.0)
    assert board.playing
    handles[1].dead = True
    board.hear_until(lambda: not board.playing, 5.0)
    (lost,) = board.mail.results
    assert isinstance(lost, Lost)
    assert lost.agent == 1
    assert hosts[1].gone
    board.end(hosts[1])  # as the population does with an agent that is lost


def test_an_actor_that_dies_while_idle_is_lost_with_its_next_round(board: Switchboard) -> None:
    handle = Handle()
    host = board.engage(handle, 1.0)
    line = handle.invitation.accept()
    board.hear_until(lambda: host.channel, 5.0)
    line.close()
    handle.dead = True
    board.hear_until(lambda: host.broken, 5.0)
    assert board.mail.results == []
    again = board.engage(Handle(), 1.0)  # whose line may get the number of the closed one
    again.handle.invitation.accept()
    board.hear_until(lambda: again.channel, 5.0)
    board.send(host, order(3))
    board.hear_until(lambda: not board.playing, 5.0)
    assert [result.agent for result in board.mail.results] == [3]


def test_who_was_killed_for_memory_while_its_state_was_asked_for_is_lost_for_that(
    board: Switchboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(call: Handle) -> None:
        raise ActorDiedError

    killed = iter((3, 4, 4))  # by the kernel, until the board and each loss
    monkeypatch.setattr(losses, "_killed_by_kernel", lambda: next(killed))
    monkeypatch.setattr(board, "_losses", losses.Losses())
    monkeypatch.setattr("ray.get", die)
    handle = Handle()
    host = board.engage(handle, 1.0)
    line = handle.invitation.accept()
    board.send(host, StateOrder(0))
    board.hear_until(lambda: host.channel, 5.0)
    handle.dead = True
    line.close()
    board.hear_until(lambda: host.gone, 5.0)
    board.send(host, order(0))
    board.hear_until(lambda: not board.playing, 5.0)
    (lost,) = board.mail.results
    assert isinstance(lost, Lost)
    assert lost.reason.startswith("killed for memory (the kernel; ")


def test_a_cohort_that_raises_is_lost_with_the_error(board: Switchboard) -> None:
    handle = Handle()
    host = board.engage(handle, 1.0)
    line = handle.invitation.accept()
    board.send(host, order(0, 1))
    board.hear_until(lambda: host.channel, 5.0)
    line.send(Raised.of(ValueError("broken")))
    board.hear_until(lambda: not board.playing, 5.0)
    assert [(r.agent, r.reason) for r in board.mail.results] == [
        (0, "ValueError('broken')"),
        (1, "ValueError('broken')"),
    ]
    assert host.gone
