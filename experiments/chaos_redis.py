"""The Redis that chaos kills, and that it starts again after some seconds."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import time
from pathlib import Path

from metagenrl.cluster.deploy.head_redis import HeadRedis
from metagenrl.objective_server.store.address import PASSWORD_VARIABLE

DOWNTIME = (1.0, 8.0)  # seconds until it is started again, or has room again


class RedisServer:
    """A server with a password and an append-only file, as `cluster/config.yaml` starts one."""

    def __init__(self, folder: Path) -> None:
        """Start it; the password goes to where every process of a run looks for it."""
        self._server = HeadRedis(folder, _free_port())
        self._server.start()
        self._back_at: float | None = None
        self._room_at: float | None = None
        os.environ[PASSWORD_VARIABLE] = self._server.password()
        self.url = f"redis://127.0.0.1:{self._server.port}/0"

    def kill(self, rng: random.Random) -> bool:
        """SIGKILL; False where it is down already."""
        if self._back_at is not None or self._room_at is not None:
            return False
        os.kill(int(self._server.client().info("server")["process_id"]), signal.SIGKILL)
        self._back_at = time.monotonic() + rng.uniform(*DOWNTIME)
        return True

    def fill(self, rng: random.Random) -> bool:
        """Let it refuse every write for want of memory; False where it is down or full already."""
        if self._back_at is not None or self._room_at is not None:
            return False
        client = self._server.client()
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        self._room_at = time.monotonic() + rng.uniform(*DOWNTIME)
        return True

    def attend(self) -> None:
        """Start it again, or give it room again, when its time has come."""
        if self._room_at is not None and time.monotonic() >= self._room_at:
            self._make_room()
        if self._back_at is not None and time.monotonic() >= self._back_at:
            self.ensure()

    def ensure(self) -> None:
        """Start it again now if it is down, with what its append-only file holds; with room."""
        if self._room_at is not None:
            self._make_room()
        if self._back_at is not None:
            self._server.start()
            self._back_at = None

    def _make_room(self) -> None:
        self._server.client().config_set("maxmemory", 0)
        self._room_at = None

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            self._server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
