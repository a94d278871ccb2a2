"""The objective server as a Ray actor: a thin adapter."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import ray
from metagenrl.cluster.engine import Exchange, Gradient, exchange
from metagenrl.objective_server.server import ObjectiveServer


@ray.remote(max_restarts=0, max_task_retries=0, num_cpus=0)
class ServerActor:
    """Owns the `ObjectiveServer`; a new one opens the store where the last commit left it."""

    def __init__(self, open_server: Callable[[], ObjectiveServer]) -> None:
        self._server = open_server()

    def ready(self) -> tuple[int, int, int]:
        """Process id, round and version."""
        return os.getpid(), self._server.round, self._server.version

    def exchange(
        self, expected: Sequence[int], round_index: int, close: bool, *gradients: Gradient
    ) -> Exchange:
        """See `metagenrl.cluster.engine.exchange`."""
        return exchange(self._server, gradients, expected, round_index, close)

    def state(self) -> dict[str, Any]:
        """The server's complete state."""
        return self._server.state_dict()
