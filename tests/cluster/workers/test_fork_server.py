"""What is forked and what is not, and what a fork would have in common with its siblings."""

from __future__ import annotations

import importlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from metagenrl.cluster.workers import fork_server, setup_worker
from metagenrl.cluster.workers.fork_server import AT_ONCE, WITH_RAY, ForkServer
from metagenrl.cluster.workers.request import receive
from metagenrl.cluster.workers.setup_worker import READY, forked

if sys.platform != "linux":
    pytest.skip("elsewhere workers are not forked", allow_module_level=True)


def in_a_process(script: str) -> str:
    """What a script prints."""
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    """Where a fork server would listen."""
    with socket.socket(socket.AF_UNIX) as found:
        found.bind(str(tmp_path / "s"))
        found.listen()
        yield found


def test_modules_that_are_imported_ahead_exist() -> None:
    for name in (*AT_ONCE, *WITH_RAY):
        importlib.import_module(name)


def test_ray_is_imported_with_the_workers_environment_only() -> None:
    script = f"import importlib, sys; [importlib.import_module(n) for n in {AT_ONCE!r}]"
    assert in_a_process(f"{script}; print('ray' in sys.modules)") == "False"


@pytest.mark.parametrize(
    ("module", "differ"), [(None, True), ("metagenrl.cluster.engines.actors", False)]
)
def test_forks_draw_identifiers_of_their_own_or_are_not_made(
    module: str | None, differ: bool
) -> None:
    names = (*AT_ONCE, *WITH_RAY, *([module] if module else ()))
    script = (
        f"import importlib; [importlib.import_module(n) for n in {names!r}]; "
        "from metagenrl.cluster.workers.fork_server import _draws_differ; print(_draws_differ())"
    )
    assert in_a_process(script) == str(differ)


@pytest.mark.parametrize("said", [b"", READY])
def test_who_is_not_served_starts_the_worker_himself(listener: socket.socket, said: bytes) -> None:
    def hang_up() -> None:
        line, _ = listener.accept()
        with line:
            line.sendall(said)

    server = threading.Thread(target=hang_up)
    server.start()
    assert not forked(listener.getsockname())
    server.join()


def test_nobody_listens(tmp_path: Path) -> None:
    assert not forked("")
    assert not forked(str(tmp_path / "nothing"))


ARGUMENTS = ("x/default_worker.py", "--worker-id=1", "--language=PYTHON")


@pytest.mark.parametrize(
    ("arguments", "environment", "allowed"),
    [
        (ARGUMENTS, {"RAY_JOB_ID": "01"}, True),
        ((*ARGUMENTS, '--serialized-runtime-env-context={"env_vars": {}}'), {}, False),
        (ARGUMENTS, {"RAY_JOB_ID": "02"}, False),
        (ARGUMENTS, {"RAY_JOB_ID": "01", "OMP_NUM_THREADS": "4"}, False),
        (("y/default_worker.py", *ARGUMENTS[1:]), {"RAY_JOB_ID": "01"}, False),
        (("x/other.py", *ARGUMENTS[1:]), {"RAY_JOB_ID": "01"}, False),
        ((*ARGUMENTS[:2], "--language=JAVA"), {"RAY_JOB_ID": "01"}, False),
    ],
)
def test_only_workers_of_one_kind_are_forked(
    monkeypatch: pytest.MonkeyPatch,
    listener: socket.socket,
    arguments: tuple[str, ...],
    environment: dict[str, str],
    allowed: bool,
) -> None:
    monkeypatch.setattr(ForkServer, "_becomes", lambda self, kind: True)
    server = ForkServer(listener, 0)
    assert [
        server._may_fork(sent(monkeypatch, ARGUMENTS, {"RAY_JOB_ID": "01"})),
        server._may_fork(sent(monkeypatch, arguments, environment)),
    ] == [True, allowed]


def test_a_worker_without_a_job_waits_for_no_other(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket
) -> None:
    monkeypatch.setattr(ForkServer, "_becomes", lambda self, kind: True)
    server = ForkServer(listener, 0)
    assert not server._may_fork(sent(monkeypatch, ARGUMENTS, {}))
    assert server._may_fork(sent(monkeypatch, ARGUMENTS, {"RAY_JOB_ID": "01"}))


def test_variables_that_libraries_have_read_must_be_the_same() -> None:
    began = {"PATH": "a", "RAY_JOB_ID": "01", "OMP_NUM_THREADS": "1"}
    assert fork_server._read_early(began) == {"PATH": "a", "OMP_NUM_THREADS": "1"}


def sent(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], environment: dict[str, str]
) -> fork_server.WorkerRequest:
    """A request as it arrives."""
    with monkeypatch.context() as here:
        here.setattr(sys, "argv", ["setup_worker.py", *arguments])
        here.setattr(os, "environ", environment)
        wanted = setup_worker.as_it_is_here()
    mine, other = socket.socketpair()
    with mine, other:
        setup_worker.send(mine, wanted)
        request = receive(other)
    assert request is not None
    for file in request.files:
        os.close(file)
    return request
