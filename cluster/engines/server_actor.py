"""The objective server as a Ray actor: a thin adapter."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import ray

from metagenrl.cluster.engines.exchange import Exchange, Gradient, exchange
from metagenrl.objective_server.server import ObjectiveServer


class Closing(NamedTuple):
    """Whether to close the open round. One argument, see `RoundOrder`."""

    expected: tuple[int, ...]  # agents
    round: int
    close: bool


@ray.remote(max_restarts=0, max_task_retries=0, num_cpus=0)
class ServerActor:
    """Owns the `ObjectiveServer`; a new one opens the store where the last commit left it."""

    def __init__(self, open_server: Callable[[], ObjectiveServer]) -> None:
        self._server = open_server()

    def ready(self) -> tuple[int, int, int]:
        """Process id, round and version."""
        return os.getpid(), self._server.round, self._server.version

    def exchange(self, closing: Closing, *gradients: Gradient) -> Exchange:
        return exchange(self._server, gradients, *closing)

    def state(self) -> dict[str, Any]:
        """The server's complete state."""
        return self._server.state_dict()
