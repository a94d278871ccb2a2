"""Which Ray a run joins: named, found, stale, another user's, nonsense; with and without token."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fixtures.ray_heads import RayHead

from metagenrl.base.checks import UsageError
from metagenrl.cluster.joining import address
from metagenrl.cluster.joining.address import address_to_join
from metagenrl.cluster.joining.probe import probe

CLOSED = "127.0.0.1:9"
MY_ENV = """
import os
import gymnasium
from gymnasium.envs.classic_control.pendulum import PendulumEnv
if __name__ == "half_env" and "ON_THE_DRIVER" not in os.environ:
    raise ImportError("its simulator is not installed")
gymnasium.register("E-v0", entry_point=PendulumEnv, max_episode_steps=200)
"""
TINY = (
    "--preset quickstart --hidden-units 16 --batch-size 8 --learning-starts 40 --random-steps 60 "
    "--lifetime 0 --agents 2 --steps 150 --wandb disabled --engine ray"
)


@pytest.fixture(scope="module")
def head(new_ray_head: Callable[[], RayHead]) -> RayHead:
    """A running Ray that wants a token."""
    return new_ray_head().start("--num-cpus=2")


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A terminal whose user has never used Ray."""
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    return monkeypatch


@pytest.mark.parametrize(
    ("named", "why"),
    [
        (CLOSED, "nothing answers there: connection refused"),
        ("no-such-host.invalid:6379", "nothing answers there"),
        ("ray://127.0.0.1:10001", "a Ray Client; a run needs a node"),
        ("foo://bar", "no HOST:PORT"),
        ("foo", "no HOST:PORT"),
        (":6379", "no HOST:PORT"),
        ("127.0.0.1:port", "no HOST:PORT"),
        ("127.0.0.1:70000", "no HOST:PORT"),
        ("auto", "no Ray runs on this machine"),
    ],
)
def test_an_address_that_leads_nowhere_is_refused_in_one_line(alone, named: str, why: str) -> None:
    alone.setenv("RAY_ADDRESS", named)
    alone.setattr(address, "_running_here", list)
    with pytest.raises(UsageError) as refusal:
        address_to_join()
    assert str(refusal.value).startswith(f"RAY_ADDRESS: got {named!r} ({why}")
    assert "allowed: HOST:PORT" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_what_is_no_ray_is_refused(alone) -> None:
    code = "import http.server as h; s = h.HTTPServer(('127.0.0.1', 0), h.SimpleHTTPRequestHandler)"
    code += "; print(s.server_port, flush=True); s.serve_forever()"
    server = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert server.stdout is not None
        alone.setenv("RAY_ADDRESS", f"127.0.0.1:{int(server.stdout.readline())}")
        alone.setattr("metagenrl.cluster.joining.probe.SECONDS", 6.0)
        with pytest.raises(UsageError, match="no answer as a Ray's"):
            address_to_join()
    finally:
        server.kill()
        server.wait()


def test_a_slow_start_of_the_process_that_asks_is_not_taken_for_silence(
    alone, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import time; time.sleep(2.5)")
    alone.syspath_prepend(tmp_path)
    alone.setattr("metagenrl.cluster.joining.probe.SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        failure = probe(f"127.0.0.1:{silent.getsockname()[1]}").failure
        silent.settimeout(0.0)
        silent.accept()[0].close()  # it was asked
    assert failure == "no answer as a Ray's after 1 s"


@pytest.mark.parametrize("named", ["", "local"])
def test_without_a_ray_one_is_started(alone, named: str) -> None:
    alone.setenv("RAY_ADDRESS", named)
    assert address_to_join() is None


def test_one_that_was_killed_is_not_joined(alone, tmp_path: Path) -> None:
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(CLOSED)
    assert address_to_join() is None
    alone.setenv("RAY_ADDRESS", "auto")
    alone.setattr(address, "_running_here", list)
    with pytest.raises(UsageError) as refusal:
        address_to_join()
    found = f"no Ray here can be joined; {CLOSED}, of this user's last `ray start`: nothing answers"
    assert str(refusal.value).startswith(f"RAY_ADDRESS: got 'auto' ({found} there: connection ref")


class TestRunning:
    @pytest.fixture(autouse=True)
    def terminal(self, alone, head: RayHead) -> None:
        for name in ("HOME", "RAY_TMPDIR"):
            alone.setenv(name, head.environment[name])

    def test_it_is_found_and_named(self, alone, head: RayHead) -> None:
        found = address_to_join()
        assert found is not None
        assert found.endswith(f":{head.port}")
        assert os.environ["RAY_AUTH_MODE"] == "token"  # what the driver's Ray reads
        alone.setenv("RAY_ADDRESS", head.address)
        assert address_to_join() == head.address
        alone.setenv("RAY_ADDRESS", "auto")
        assert address_to_join() == found
        alone.setattr(address, "_started_here", lambda: CLOSED)  # a later one, which was killed
        alone.setattr(address, "_running_here", lambda: [head.address])
        assert address_to_join() == head.address

    def test_another_users_is_not_joined_by_itself(self, head: RayHead) -> None:
        left = head.folder / "t" / "ray" / "ray_current_cluster"
        os.chown(left, 65534, -1)
        try:
            assert address_to_join() is None
        finally:
            os.chown(left, os.getuid(), -1)

    def test_without_its_token_one_line_says_what_to_set(
        self, alone, head: RayHead, tmp_path: Path
    ) -> None:
        assert probe(head.address).mode == "token"
        with alone.context() as terminal:
            terminal.setenv("RAY_AUTH_MODE", "disabled")
            assert probe(head.address).failure == "it wants a token: set RAY_AUTH_MODE=token"
        with alone.context() as terminal:
            terminal.setenv("RAY_AUTH_TOKEN", "wrong")
            assert "it wants another token" in str(probe(head.address).failure)
            assert address_to_join() is None  # it was not named: a local one is started
            terminal.setenv("RAY_ADDRESS", head.address)
            with pytest.raises(UsageError, match="it wants another token"):
                address_to_join()
        alone.setenv("HOME", str(tmp_path))
        assert "it wants a token, put it in ~/.ray/auth_token" in str(probe(head.address).failure)

    def test_a_machine_that_is_no_node_of_it_is_told(self, alone, head: RayHead) -> None:
        alone.setenv("RAY_ADDRESS", head.address)
        alone.setattr(address.psutil, "net_if_addrs", dict)
        with pytest.raises(UsageError, match="this machine is no node of it"):
            address_to_join()


COMMAND = "from metagenrl.commands.main import main; main()"
"""With -P it is `metagenrl`: the folder that it is called in is not on the path by itself."""


def train(head: RayHead, folder: Path, *words: str, **environment: str) -> tuple[int, str]:
    """Exit code and output of a tiny run."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", COMMAND, "train", *TINY.split(), *words],
        env=head.environment | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_run_joins_it_with_an_environment_on_the_users_path(head, tmp_path: Path) -> None:
    (tmp_path / "my_env.py").write_text(MY_ENV)
    (tmp_path / "sub").mkdir()
    code, out = train(
        head, tmp_path / "sub", "--envs", "my_env:E-v0", "--run-dir", "a", PYTHONPATH=".."
    )
    assert code == 0, out
    assert "memory: 2 actors, " in out
    control = (tmp_path / "sub" / "a" / "control.json").read_text()
    assert f":{head.port}" in control, "it started a Ray of its own"


def test_a_module_beside_the_user_is_found_by_the_driver_and_the_nodes(head, tmp_path) -> None:
    (tmp_path / "my_env.py").write_text(MY_ENV)
    code, out = train(head, tmp_path, "--envs", "my_env:E-v0", "--run-dir", "a")
    assert code == 0, out


def test_an_environment_that_only_the_driver_can_import_is_refused(head, tmp_path: Path) -> None:
    (tmp_path / "half_env.py").write_text(MY_ENV)
    code, out = train(
        head, tmp_path, "--envs", "half_env:E-v0", "--run-dir", "a",
        ON_THE_DRIVER="1", PYTHONPATH=".", RAY_ADDRESS=head.address,
    )  # fmt: skip
    assert code == 2, out
    last = out.strip().splitlines()[-1]
    assert last.startswith("error: envs: got 'half_env:E-v0' (not on node ")
    for word in ("its simulator is not installed", "py_modules", "PYTHONPATH", "--working-dir"):
        assert word in last
    assert not (tmp_path / "a").exists()


def test_a_ray_that_was_started_without_a_token_is_joined_by_who_has_one(
    new_ray_head, tmp_path: Path
) -> None:
    head = new_ray_head().start("--num-cpus=2", token=False)
    (head.home / ".ray" / "auth_token").write_text("1" * 64)  # of an earlier ray.init()
    code, out = train(head, tmp_path, "--envs", "Pendulum-v1", "--run-dir", "a")
    assert code == 0, out
    assert f":{head.port}" in (tmp_path / "a" / "control.json").read_text()
