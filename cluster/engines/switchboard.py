"""The lines of all actors: who calls, what they answer, and who is dead."""

from __future__ import annotations

import itertools
import selectors
import time
from collections.abc import Callable
from typing import Any

import ray

from metagenrl.cluster.engines.actor_host import ActorHost, Mail
from metagenrl.cluster.engines.actors import Order
from metagenrl.cluster.engines.channel import Invitation, Reception
from metagenrl.cluster.engines.losses import Losses

QUIET = 1.0  # seconds without an answer, after which Ray is asked who is dead
SUSPECTED = 0.05  # seconds between such questions, where somebody's line has broken


class Switchboard:
    """Actors that live, with what has come from them.

    A process that dies closes its line at once; a node that is cut off does not, so Ray, which
    notices, is asked about those who are silent.
    """

    def __init__(self, host: str, timeout: float) -> None:
        self._reception = Reception(host, timeout)
        self._losses, self.mail = Losses(), Mail()
        self._hosts: dict[int, ActorHost] = {}
        self._playing: set[ActorHost] = set()  # with a round under way
        self._suspects: set[ActorHost] = set()  # whose line has broken
        self._numbers = itertools.count()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._reception, selectors.EVENT_READ)

    def engage(self, handle: Any, share: float) -> ActorHost:
        """Let a new actor call."""
        number = next(self._numbers)
        invitation: Invitation = self._reception.invitation(number)
        host = ActorHost(number, handle, handle.serve.remote(invitation), share)
        self._hosts[number] = host
        return host

    def send(self, host: ActorHost, order: Order) -> None:
        """Ask for something, or tell; the answer will be in `mail`."""
        host.send(order)
        self._note(host)

    @property
    def playing(self) -> bool:
        """Whether a round is under way."""
        return bool(self._playing)

    def _note(self, host: ActorHost) -> None:
        """Keep the sets in step with what has happened to the host."""
        (self._playing.add if host.plays else self._playing.discard)(host)
        if host.broken:
            self._suspects.add(host)

    def end(self, host: ActorHost) -> None:
        """End its process and forget it."""
        self._unplug(host)
        self._hosts.pop(host.number, None)
        self._playing.discard(host)
        self._suspects.discard(host)
        host.end()

    def hear_until(self, enough: Callable[[], object], timeout: float) -> None:
        """Take in what comes, once at least, until it is enough or `timeout` seconds are over."""
        deadline, heard = time.monotonic() + timeout, False
        while not enough():
            left = deadline - time.monotonic()
            if left <= 0 and heard:
                return
            self._hear(max(left, 0.0))
            heard = True

    def _hear(self, patience: float) -> None:
        suspected = [host for host in self._suspects if host.open]
        ready = self._selector.select(min(patience, SUSPECTED if suspected else QUIET))
        for key, _ in ready:
            if key.data is None:
                self._welcome()
            else:
                self._listen(key.data)
        if not ready:
            self._bury(suspected + [host for host in self._hosts.values() if host.open])
        elif suspected:
            self._bury(suspected)

    def _welcome(self) -> None:
        caller = self._reception.receive()
        if caller is None:
            return
        number, channel = caller
        host = self._hosts.get(number)
        if host is None or host.channel is not None:
            channel.close()  # it was given up meanwhile
            return
        self._selector.register(channel, selectors.EVENT_READ, host)
        host.connected(channel)
        self._note(host)

    def _listen(self, host: ActorHost) -> None:
        host.receive(self.mail)
        self._note(host)
        if host.failed:
            self.end(host)
        elif host.broken and host.channel is not None:
            self._unplug(host)
            host.channel.close()  # so that an actor that lives hangs up as well

    def _bury(self, hosts: list[ActorHost]) -> None:
        by_call = {host.serving: host for host in hosts}
        if by_call:
            over, _ = ray.wait(list(by_call), num_returns=len(by_call), timeout=0)
            for call in over:
                by_call[call].bury(self._losses, self.mail)
                self.end(by_call[call])

    def _unplug(self, host: ActorHost) -> None:
        """Before it is closed: the next channel may get the number of its file."""
        file = -1 if host.channel is None else host.channel.fileno()  # -1: closed
        if file >= 0 and file in self._selector.get_map():
            self._selector.unregister(file)

    def close(self) -> None:
        """Hear nobody any more."""
        self._selector.close()
        self._reception.close()
