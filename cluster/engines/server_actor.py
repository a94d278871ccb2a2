"""The objective server as a Ray actor: a thin adapter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import ray

from metagenrl.cluster.engines.channel import Invitation, Raised, requests
from metagenrl.cluster.engines.exchange import Exchange, Gradient, exchange
from metagenrl.objective_server.server import ObjectiveServer


class ExchangeOrder(NamedTuple):
    """Answered with an `Exchange`."""

    gradients: tuple[Gradient, ...]
    expected: tuple[int, ...]  # agents
    round: int  # the open one
    close: bool  # whether to close it


class ServerStateOrder(NamedTuple):
    """Answered with the server's complete state."""


class Opened(NamedTuple):
    """The first thing that a server says."""

    round: int
    version: int


@ray.remote(max_restarts=0, max_task_retries=0, num_cpus=0)
class ServerActor:
    """Owns the `ObjectiveServer`; a new one opens the store where the last commit left it."""

    def serve(self, open_server: Callable[[], ObjectiveServer], invitation: Invitation) -> None:
        """Open the server, call the driver, and carry out its orders until it hangs up."""
        try:
            server = open_server()
        except Exception as error:
            invitation.accept().send(Raised.of(error))
            return
        channel = invitation.accept()
        channel.send(Opened(server.round, server.version))
        for order in requests(channel):
            try:
                channel.send(_carried_out(server, order))
            except Exception as error:
                channel.send(Raised.of(error))


def _carried_out(
    server: ObjectiveServer, order: ExchangeOrder | ServerStateOrder
) -> Exchange | dict[str, Any]:
    if isinstance(order, ExchangeOrder):
        return exchange(server, *order)
    return server.state_dict()
