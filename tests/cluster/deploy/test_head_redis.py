"""The head's Redis, a real server: password, append-only file, addresses, restarts."""

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from metagenrl.cluster.deploy.head_redis import HeadRedis, main


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HeadRedis]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = HeadRedis(tmp_path / "redis", port)
    yield server
    server.stop()


def test_only_who_knows_the_password_is_let_in(server: HeadRedis) -> None:
    server.start()
    with pytest.raises(redis.exceptions.AuthenticationError):
        redis.Redis(port=server.port).ping()
    assert server.client().ping() is True
    for file in (server.password_file, server.folder / "redis.conf"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700
    pid = server.client().info("server")["process_id"]
    assert server.password() not in Path(f"/proc/{pid}/cmdline").read_text()
    assert server.password() not in (server.folder / "redis.log").read_text()


def test_what_it_acknowledges_is_on_the_disk(server: HeadRedis) -> None:
    server.start()
    assert server.client().config_get("append*")["appendfsync"] == "always"
    assert server.client().config_get("append*")["appendonly"] == "yes"


def test_killed_and_started_again_it_has_everything(server: HeadRedis) -> None:
    server.start()
    client = server.client()
    client.set("key", "value")
    os.kill(client.info("server")["process_id"], signal.SIGKILL)
    while server.running():
        pass
    server.start()
    assert server.client().get("key") == b"value"


def test_starting_twice_is_one_server_and_stopping_twice_is_none(server: HeadRedis) -> None:
    server.start()
    pid = server.client().info("server")["process_id"]
    server.start()
    assert server.client().info("server")["process_id"] == pid
    server.stop()
    server.stop()
    assert not server.running()


def test_another_server_on_the_port_is_named(server: HeadRedis, tmp_path: Path) -> None:
    server.start()
    module = "metagenrl.cluster.deploy.head_redis"
    words = ["start", "--folder", str(tmp_path / "other"), "--port", str(server.port)]
    done = subprocess.run([sys.executable, "-m", module, *words], capture_output=True, text=True)
    assert done.returncode == 1
    where = f"127.0.0.1:{server.port}"
    assert done.stderr.startswith(f"error: redis at {where} has another password")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("start --bind 0.0.0.0", "bind: got '0.0.0.0', allowed: loopback or a private address"),
        ("start --bind 8.8.8.8", "bind: got '8.8.8.8', allowed: loopback or a private address"),
        ("start --port 0", "port: got 0, allowed: a number from 1 to 65535"),
        ("begin", "argument command: invalid choice: 'begin'"),
    ],
)
def test_bad_input(line: str, complaint: str, tmp_path: Path, capsys) -> None:
    assert main([*line.split(), "--folder", str(tmp_path / "redis")]) == 2
    assert capsys.readouterr().err.startswith(f"error: {complaint}")
    assert not (tmp_path / "redis").exists()
