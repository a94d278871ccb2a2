"""The Ray that a run has started itself: signals do not reach it, and its end is the run's."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

from metagenrl.base.ending import Ending

PATIENCE = 10.0
"""Seconds that a run without its Ray has to end by itself; Ray would abort it after 60."""
_LOOK_SECONDS = 1.0

_own: list[str] = []  # addresses of the Rays that this process has started


def remember(address: str) -> None:
    """This process has started the Ray whose control service (GCS) has this address."""
    _own.append(address)


def is_own(address: str) -> bool:
    """Whether this process has started the Ray at that address."""
    return address in _own


@contextlib.contextmanager
def groups_of_their_own() -> Iterator[None]:
    """Let a Ray that is started within be in process groups of its own.

    A signal for the driver's group, as terminals that close and `timeout` send it, would else end
    Ray before the run has saved anything. Ray has no public switch for it.
    """
    from ray._private import services

    original: Any = services.ConsolePopen

    def start(*arguments: Any, **options: Any) -> Any:
        return original(*arguments, process_group=0, **options)

    with replaced(services, "ConsolePopen", start):
        yield


@contextlib.contextmanager
def without_dashboard_and_autoscaler() -> Iterator[None]:
    """Let a Ray that is started within have no dashboard and no autoscaler.

    With `include_dashboard=False` Ray starts the dashboard's process all the same, for its usage
    statistics; the autoscaler has no nodes to add here. Ray has no public switch for either.
    """
    from ray._private.node import Node

    def start_nothing(_: Node, **__: Any) -> None: ...

    with (
        replaced(Node, "start_api_server", start_nothing),
        replaced(Node, "start_monitor", start_nothing),
    ):
        yield


@contextlib.contextmanager
def replaced(owner: Any, name: str, replacement: Any) -> Iterator[None]:
    """Within, `owner` has `replacement` under that name, which must be one of its own."""
    original = getattr(owner, name)
    setattr(owner, name, replacement)
    try:
        yield
    finally:
        setattr(owner, name, original)


@contextlib.contextmanager
def ended_with_own_ray(ending: Ending) -> Iterator[None]:
    """End this process soon after a Ray that it has started, or will start within, is gone.

    What was told to end ends so; else the exit code is 1.
    """
    over, earlier = threading.Event(), len(_own)
    watch = threading.Thread(target=_watch, args=(ending, over, earlier), daemon=True)
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join()
        if _is_gone(earlier):
            _end(ending)


def _watch(ending: Ending, over: threading.Event, earlier: int) -> None:
    while not over.wait(_LOOK_SECONDS):
        if _is_gone(earlier) and not over.wait(PATIENCE) and _is_gone(earlier):
            _end(ending)


def _is_gone(earlier: int) -> bool:
    """Whether nobody listens at the address of the Ray that was started after so many others.

    Its process may still be there: one that was told to end may never come to it.
    """
    for address in _own[earlier:]:
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=_LOOK_SECONDS).close()
        except ConnectionRefusedError:
            return True
        except OSError:
            continue  # no file or no network is left to ask: that says nothing of Ray
    return False


def _end(ending: Ending) -> None:
    if ending.requested:
        ending.at_once(f"ended by {ending.name}, as its Ray was", ending.code)
    ending.at_once("error: the Ray of this run has ended (its GCS); this process ends", 1)
