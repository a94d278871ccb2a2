"""`ray up`, `ray submit`, `ray down` with the shipped configuration, against real ssh servers."""

from __future__ import annotations

import stat
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from metagenrl.objective_server.snapshots.find import find_snapshot
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.runs.metrics_file import read_metrics

pytestmark = pytest.mark.slow

TINY = (
    "--preset quickstart --hidden-units 16 --batch-size 8 --learning-starts 40 --random-steps 60 "
    "--lifetime 0 --envs Pendulum-v1 --wandb disabled --steps 300"
)


def objective(run_dir: Path) -> ObjectiveSnapshot:
    return ObjectiveSnapshot.load(find_snapshot(run_dir, "last"))


def assert_trained(run_dir: Path, agents: int) -> None:
    found = objective(run_dir)
    assert np.isfinite(found.alpha).all()
    versions = [row.version for row in read_metrics(run_dir).objective]
    assert versions == list(range(1, found.version + 1))
    assert {row.agent for row in read_metrics(run_dir).agents} == set(range(agents))


def redis_cli(host, *words: str) -> str:
    """What the head's Redis answers to a client without a password, or with the right one."""
    code = (
        "import redis, sys; from metagenrl.cluster.deploy.head_redis import HeadRedis, PORT\n"
        "from pathlib import Path; folder = Path.home() / '.metagenrl' / 'redis'\n"
        "server = HeadRedis(folder) if sys.argv[1] == 'known' else None\n"
        "client = server.client() if server else redis.Redis(port=PORT)\n"
        "try: print(client.execute_command(*sys.argv[2:]))\n"
        "except redis.exceptions.AuthenticationError as error: print('refused', error)\n"
    )
    python = str(host.home / ".metagenrl" / "venv" / "bin" / "python")
    return host.run([python, "-c", code, *words], check=True).stdout


def status(host, header: str) -> str:
    """The HTTP status of the dashboard's list of jobs."""
    request = f"GET /api/jobs/ HTTP/1.0\\r\\nHost: localhost\\r\\n{header}\\r\\n"
    script = f"exec 3<>/dev/tcp/127.0.0.1/8265; printf '{request}' >&3; head -1 <&3"
    return host.run(["bash", "-c", script], check=True).stdout.split()[1]


@pytest.mark.timeout(1800)
def test_one_host(make_host, make_launcher, tmp_path) -> None:
    head = make_host("a", "127.0.0.1")
    launcher = make_launcher(head, [])
    config = str(launcher.config)
    printed = launcher.ray("up", "-y", config)

    train = ["train.py", "--", *TINY.split(), "--agents", "2", "--run-dir", "runs/a"]
    printed += launcher.ray("submit", config, *train)
    printed += launcher.ray("rsync-down", config, "~/runs/a/", str(tmp_path / "a"))
    assert_trained(tmp_path / "a", agents=2)

    flags = ["--agents", "2", "--run-dir", str(head.home / "runs/b")]
    job = ["metagenrl", "train", *TINY.split(), *flags]
    address = ["--address", "http://127.0.0.1:8265"]
    printed += launcher.ray("job", "submit", *address, "--", *job)
    assert np.array_equal(objective(head.home / "runs/b").alpha, objective(tmp_path / "a").alpha)

    token = (launcher.folder / "client/.ray/auth_token").read_text().strip()
    assert status(head, "") == "401"
    assert status(head, f"Authorization: Bearer {token}\\r\\n") == "200"

    assert redis_cli(head, "unknown", "PING").startswith("refused")
    assert "yes" in redis_cli(head, "known", "CONFIG", "GET", "appendonly")
    assert "127.0.0.1'" in redis_cli(head, "known", "CONFIG", "GET", "bind")
    assert int(redis_cli(head, "known", "DBSIZE")) > 0, "the GCS keeps nothing in Redis"
    secret = head.home / ".metagenrl/redis/password"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert secret.read_text() not in printed + _logs(head)
    assert token not in printed

    launcher.ray("exec", config, "python -m metagenrl.cluster.deploy.head_redis stop")
    launcher.ray("down", "-y", config)
    left = head.run(["ps", "-eo", "comm"], check=True).stdout.split()
    assert not {"raylet", "gcs_server", "redis-server"} & set(left)


def _logs(host, pattern: str = "*") -> str:
    logs = (host.folder / "ray" / "ray").glob(f"session_2*/logs/{pattern}")
    return "".join(path.read_text(errors="replace") for path in logs if path.is_file())


@pytest.mark.timeout(1800)
def test_two_hosts(make_host, make_launcher, tmp_path) -> None:
    head, worker = make_host("a", "10.77.0.1"), make_host("b", "10.77.0.2")
    _connect(head, worker)
    launcher = make_launcher(head, [worker])
    config = str(launcher.config)
    launcher.ray("up", "-y", config, RAY_UP_enable_autoscaler_v2="0")
    _wait_for_both(launcher, config)

    train = ["train.py", "--", *TINY.split(), "--agents", "4", "--run-dir", "runs/a"]
    launcher.ray("submit", config, *train)
    launcher.ray("rsync-down", config, "~/runs/a/", str(tmp_path / "a"))
    assert_trained(tmp_path / "a", agents=4)
    for host in (head, worker):
        assert ":actor_name:CohortActor" in _logs(host), f"no agent was on {host.address}"
    assert ":actor_name:ServerActor" in _logs(head)

    # The head crashes, and comes back with the same command: the worker never noticed.
    before = raylets(worker)
    _kill(head, "gcs_server", "raylet")
    launcher.ray("up", "-y", config, RAY_UP_enable_autoscaler_v2="0")
    _wait_for_both(launcher, config)
    assert raylets(worker) == before
    launcher.ray("submit", config, "train.py", "--", "--resume", "runs/a", "--steps", "400")
    launcher.ray("rsync-down", config, "~/runs/a/", str(tmp_path / "b"))
    assert_trained(tmp_path / "b", agents=4)
    assert objective(tmp_path / "b").version > objective(tmp_path / "a").version
    launcher.ray("down", "-y", config)


def _wait_for_both(launcher, config: str) -> None:
    deadline = time.monotonic() + 600
    while "2 local.cluster.node" not in (out := launcher.ray("exec", config, "ray status")):
        assert time.monotonic() < deadline, out + _logs(launcher.head, "monitor*")
        time.sleep(2)


def processes(host, *names: str) -> list[int]:
    """Their numbers on the host."""
    lines = host.run(["ps", "-eo", "pid,comm"], check=True).stdout.splitlines()
    return [int(line.split()[0]) for line in lines if line.split()[1] in names]


def raylets(host) -> list[int]:
    (raylet,) = processes(host, "raylet")
    return [raylet]


def _kill(host, *names: str) -> None:
    host.run(["kill", "-KILL", *map(str, processes(host, *names))], check=True)


def _connect(one, other) -> None:
    """A wire between two hosts."""
    ends = ["wire", "netns", str(one.pid), "type", "veth", "peer", "name", "wire"]
    subprocess.run(["ip", "link", "add", *ends, "netns", str(other.pid)], check=True)
    for host in (one, other):
        host.run(["ip", "address", "add", f"{host.address}/24", "dev", "wire"], check=True)
        host.run(["ip", "link", "set", "wire", "up"], check=True)
        # Nothing is behind it, but Ray asks for the address that the outside would be reached by.
        host.run(["ip", "route", "add", "default", "dev", "wire"], check=True)
