"""When a run takes the Ray that it has started for gone."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from metagenrl.base.ending import Ending
from metagenrl.cluster.joining import own_ray


class Ended(BaseException):
    """Instead of the end of this process."""


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What looks like the GCS of a Ray that this process has started."""
    monkeypatch.setattr(own_ray, "_own", ["127.0.0.1:1"])  # one that ended long ago

    def end(ending: Ending, line: str, code: int) -> None:
        raise Ended(line, code)

    monkeypatch.setattr(Ending, "at_once", end)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def start(listening: socket.socket) -> None:
    own_ray.remember(f"127.0.0.1:{listening.getsockname()[1]}")


def test_one_that_listens_and_one_that_was_there_before_end_nothing(listening) -> None:
    with own_ray.ended_with_own_ray(Ending()):
        start(listening)


def test_one_that_refuses_ends_the_process(listening) -> None:
    def live() -> None:
        with own_ray.ended_with_own_ray(Ending()):
            start(listening)
            listening.close()

    with pytest.raises(Ended) as ended:
        live()
    assert ended.value.args == (
        "error: the Ray of this run has ended (its GCS); this process ends", 1,
    )  # fmt: skip


@pytest.mark.parametrize("error", [OSError("too many open files"), TimeoutError()])
def test_what_keeps_us_from_asking_ends_nothing(
    error: OSError, listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("socket.create_connection", refuse)
    with own_ray.ended_with_own_ray(Ending()):
        start(listening)
