"""The driver's side of the objective server's actor: it is brought back and asked again."""

from __future__ import annotations

import logging
import selectors
import time
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray import ObjectRef
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from metagenrl.cluster.engines.channel import Channel, ChannelLost, Raised, Reception
from metagenrl.cluster.engines.exchange import Exchange, Gradient
from metagenrl.cluster.engines.interface import START_TIMEOUT
from metagenrl.cluster.engines.ray_cluster import first_line, remote
from metagenrl.cluster.engines.server_actor import (
    ExchangeOrder,
    Opened,
    ServerActor,
    ServerStateOrder,
)
from metagenrl.objective_server.server import ObjectiveServer

logger = logging.getLogger(__name__)

SERVER_LOST = (RayActorError, OutOfMemoryError, ChannelLost)  # what ends a request of a dead one
SERVER_TRIES = 20  # in a row, before the objective server is given up
_LOOK = 0.1  # seconds between looks whether one that is to call has died


class ServerUnreachable(RuntimeError):  # noqa: N818 - reads as the event it is
    """The objective server could not be brought back."""


class ServerLink:
    """One server at a time, on the driver's node, where the run's folder is.

    When it dies, a new one opens the store, and the order that was under way is repeated, which
    the server carries out at most once.
    """

    def __init__(
        self, open_server: Callable[[], ObjectiveServer], host: str, timeout: float
    ) -> None:
        """Brings the server up. Raises what opening it raised, or `ServerUnreachable`."""
        self._open_server = open_server
        self._reception = Reception(host, timeout)
        self._number = 0  # of servers so far
        self._actor: Any = None
        self._channel: Channel | None = None
        self._round = self._start().round

    def _start(self) -> Opened:
        """Bring a server up. One that dies meanwhile is followed by another."""
        for _ in range(SERVER_TRIES):
            try:
                return self._try_to_start()
            except SERVER_LOST as error:
                reason = first_line(error)
                logger.warning("objective server did not come up (%s), trying again", reason)
                self._end()
        raise ServerUnreachable(f"objective server: {reason}")

    def _try_to_start(self) -> Opened:
        node = ray.get_runtime_context().get_node_id()
        here = NodeAffinitySchedulingStrategy(node, soft=False)
        self._number += 1
        self._actor = remote(ServerActor).options(scheduling_strategy=here).remote()
        invitation = self._reception.invitation(self._number)
        serving = self._actor.serve.remote(self._open_server, invitation)
        self._channel = self._called(serving)
        opened: Opened | Raised = self._channel.receive()
        if isinstance(opened, Raised):
            self._end()
            raise opened.error
        return opened

    def _called(self, serving: ObjectRef[Any]) -> Channel:
        """The new server's channel, once it calls. Raises what it died of."""
        deadline = time.monotonic() + START_TIMEOUT
        with selectors.DefaultSelector() as selector:
            selector.register(self._reception, selectors.EVENT_READ)
            while time.monotonic() < deadline:
                if selector.select(_LOOK):
                    caller = self._reception.receive()
                    if caller is not None and caller[0] == self._number:
                        return caller[1]
                elif ray.wait([serving], timeout=0)[0]:
                    try:
                        ray.get(serving)
                    except RayTaskError as error:
                        raise error.as_instanceof_cause() from None
                    raise ChannelLost("it ended")
        raise ChannelLost(f"no call from it for {START_TIMEOUT:.0f} s")

    def exchange(
        self, gradients: Sequence[Gradient], expected: Sequence[int], close: bool
    ) -> Exchange:
        """See `Engine`."""
        order = ExchangeOrder(tuple(gradients), tuple(expected), self._round, close)
        result: Exchange = self._ask(order)
        self._round = result.broadcast.round
        return result

    def state(self) -> dict[str, Any]:
        """The server's complete state."""
        state: dict[str, Any] = self._ask(ServerStateOrder())
        return state

    def _ask(self, order: ExchangeOrder | ServerStateOrder) -> Any:
        for _ in range(SERVER_TRIES):
            try:
                answer = self._answer(order)
            except ChannelLost as error:
                reason = first_line(error)
                logger.warning("objective server lost (%s), restoring it", reason)
                self._end()
                logger.warning("objective restored at version %d", self._start().version)
                continue
            if isinstance(answer, Raised):
                raise answer.error
            return answer
        raise ServerUnreachable(f"objective server: {reason}")

    def _answer(self, order: ExchangeOrder | ServerStateOrder) -> Any:
        if self._channel is None:  # it could not be brought back the last time
            raise ChannelLost("not there")
        self._channel.send(order)
        return self._channel.receive()

    def _end(self) -> None:
        if self._channel is not None:
            self._channel.close()
        if self._actor is not None:
            ray.kill(self._actor)
        self._channel = self._actor = None

    def close(self) -> None:
        """End the server."""
        self._end()
        self._reception.close()
