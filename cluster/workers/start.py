"""The driver's side: a Ray that is started here gets its workers from a fork server."""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from metagenrl.cluster.joining.own_ray import replaced
from metagenrl.cluster.workers import setup_worker
from metagenrl.cluster.workers.setup_worker import ADDRESS

_SCRIPT = str(Path(__file__).with_name("fork_server.py"))  # `-m` would look beside the user first
_QUEUE = 1024  # workers that wait for their fork


class _Running:
    """The fork server of the Ray that this process has started last."""

    def __init__(self, address: Path, environment: Mapping[str, str]) -> None:
        """Start it. Raises `OSError` where there is no place for its socket or no process."""
        self.address = address
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(address))
            listener.listen(_QUEUE)
            until, self._lifeline = os.pipe()
            try:
                command = [sys.executable, _SCRIPT, str(listener.fileno()), str(until)]
                self._process = subprocess.Popen(
                    command,
                    env={**os.environ, **environment},
                    pass_fds=(listener.fileno(), until),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    process_group=0,  # a signal for the driver's group is not for it
                )
            except OSError:
                os.close(self._lifeline)
                raise
            finally:
                os.close(until)

    def end(self) -> None:
        """End it; the workers that it has forked stay."""
        self._process.terminate()
        self._process.wait()
        os.close(self._lifeline)
        self.address.unlink(missing_ok=True)


_running: list[_Running] = []


@contextlib.contextmanager
def forked_workers(folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Let a Ray that is started within have its workers forked, where that is possible.

    `folder` is for the server's socket; `environment` is what the workers get beside this process's
    own variables. On other systems than Linux, and where the server cannot be started, workers
    start as Ray starts them.
    """
    end()
    if sys.platform != "linux":
        yield
        return
    try:
        os.environ[ADDRESS] = str(folder / f"fork-{secrets.token_hex(8)}")
        with contextlib.suppress(OSError):
            _running.append(_Running(Path(os.environ[ADDRESS]), environment))
        with _set_up_by(setup_worker.__file__):
            yield
    finally:
        del os.environ[ADDRESS]


@atexit.register
def end() -> None:
    """End the fork server that runs, if one does."""
    while _running:
        _running.pop().end()


@contextlib.contextmanager
def _set_up_by(script: str) -> Iterator[None]:
    """Have Ray run `script` for its own `setup_worker.py`, which has no public switch."""
    from ray._private.parameter import RayParams

    original = RayParams.update_if_absent

    def update_if_absent(self: RayParams, **defaults: Any) -> None:
        if "setup_worker_path" in defaults:
            defaults["setup_worker_path"] = script
        original(self, **defaults)

    with replaced(RayParams, "update_if_absent", update_if_absent):
        yield
