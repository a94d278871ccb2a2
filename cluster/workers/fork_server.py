"""The process that workers are forked from: it imports what they need, once, and computes nothing.

    python -m metagenrl.cluster.workers.fork_server LISTENER LIFELINE

The arguments are descriptors: of a listening socket, and of a pipe that ends with the driver.
Everything but Ray is imported at once, beside the start of Ray itself. Ray reads its environment,
with the job's and the raylet's number in it, when it is imported; so that waits for the first
worker that is asked for, and only workers of the same kind are forked. The process ends with the
driver or with the raylet, whichever ends first; workers stay, as with any parent that they lose.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import sys

from metagenrl.cluster.workers import forked_worker
from metagenrl.cluster.workers.request import Kind, WorkerRequest, receive
from metagenrl.cluster.workers.setup_worker import PATIENCE, READY

AT_ONCE = (
    "numpy",
    "torch",
    "gymnasium.envs.mujoco.mujoco_env",
    "gymnasium.envs.mujoco.mujoco_rendering",
    "pyarrow.json",
    "metagenrl.agents.cohort",
    "metagenrl.objective_server.store.open",
)
"""What agents need without Ray: pages that all share, and seconds that none of them takes."""
WITH_RAY = (
    "ray._private.workers.default_worker",
    "ray._private.arrow_serialization",
    "ray._common.usage.usage_lib",
    "metagenrl.cluster.engines.channel",
    "metagenrl.cluster.engines.exchange",
    "metagenrl.cluster.joining.nodes",
)
"""Ray, and what needs it. Modules with actors are not among them: see `_draws_differ`."""
_READ_LATE = ("RAY_", "SPT_")
"""Variables that only Ray reads: they may differ from those that this process began with."""
_NONE = Kind("", (), "", "", 0)


def main() -> None:
    """Serve until the driver or the raylet ends; in a fork, be the worker until its end."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C is the driver's
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a worker ended
    if not sys.flags.safe_path:
        del sys.path[0]  # its own folder; a worker has its script's there
    server = ForkServer(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
    _import(AT_ONCE)
    request = server.serve()
    if request is not None:
        forked_worker.run(request)


def _import(names: tuple[str, ...]) -> None:
    """Import what there is; a worker that needs the rest says itself what is missing."""
    for name in names:
        with contextlib.suppress(Exception):
            importlib.import_module(name)


class ForkServer:
    """Answers those that ask for workers, one after the other."""

    def __init__(self, listener: socket.socket, lifeline: int) -> None:
        self._listener = listener
        self._ends = [lifeline]  # descriptors that become readable when it is time to end
        self._kind: Kind | None = None  # of all workers, once the first was asked for
        self._began_with = dict(os.environ)

    def serve(self) -> WorkerRequest | None:
        """Fork whenever a worker is asked for. A fork returns with its request, the server None."""
        while True:
            listening = self._listener.fileno()
            readable, _, _ = select.select([listening, *self._ends], [], [])
            if set(readable) & set(self._ends):
                return None
            line, _ = self._listener.accept()
            with line, contextlib.suppress(OSError, ValueError, KeyError, argparse.ArgumentError):
                line.settimeout(PATIENCE)
                line.sendall(READY)
                request = receive(line)
                if request is not None and self._answer(request, line):
                    return request

    def _answer(self, request: WorkerRequest, line: socket.socket) -> bool:
        """Whether this process is now the worker; who hears nothing starts one himself."""
        if not self._may_fork(request) or os.fork():
            for file in request.files:
                os.close(file)
            return False
        self._listener.close()
        for end in self._ends:
            os.close(end)
        try:
            forked_worker.take_over(request, line)
        except BaseException:
            os._exit(1)  # who asked hears nothing
        return True

    def _may_fork(self, request: WorkerRequest) -> bool:
        """Whether a fork is the same as a process that starts from nothing."""
        if request.language != "PYTHON" or not request.kind.script.endswith("default_worker.py"):
            return False
        if self._kind is None and dict(request.kind.environment).get("RAY_JOB_ID"):
            self._kind = request.kind if self._becomes(request.kind) else _NONE
        return request.kind == self._kind

    def _becomes(self, kind: Kind) -> bool:
        """Take over what all workers have in common, and import Ray; whether that is possible."""
        os.environ.clear()
        os.environ.update(kind.environment)
        if not sys.flags.safe_path:
            sys.path.insert(0, os.path.dirname(kind.script))  # as of every script; Ray adds to it
        from ray._private.runtime_env.context import RuntimeEnvContext
        from ray._private.utils import update_envs

        context = RuntimeEnvContext.deserialize(kind.context)
        update_envs(context.env_vars)
        plain = not context.command_prefix and not context.override_worker_entrypoint
        if not plain or context.py_executable != sys.executable or kind.session != os.getsid(0):
            return False
        if _read_early(dict(os.environ)) != _read_early(self._began_with):
            return False
        os.environ["PWD"] = kind.folder  # Ray starts workers by a shell
        _import(WITH_RAY)
        with contextlib.suppress(OSError, KeyError, ValueError):
            self._ends.append(os.pidfd_open(int(os.environ["RAY_RAYLET_PID"])))
        gc.collect()
        gc.freeze()  # collections in a fork would write to shared pages
        return _draws_differ()


def _draws_differ() -> bool:
    """Whether forks draw identifiers of their own.

    Ray draws them from a generator that is seeded at the first draw, and a definition of an actor
    is one. What is forked after that draws the same as its siblings, which ends workers that put
    something into the object store at the same time.
    """
    from ray._raylet import WorkerID

    reading, writing = os.pipe()
    for _ in range(2):
        if not os.fork():
            os.write(writing, WorkerID.from_random().binary())
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as answers:
        drawn = answers.read()
    return drawn[: len(drawn) // 2] != drawn[len(drawn) // 2 :]


def _read_early(environment: dict[str, str]) -> dict[str, str]:
    """Variables that libraries read when they are imported or loaded."""
    return {name: v for name, v in environment.items() if not name.startswith(_READ_LATE)}


if __name__ == "__main__":
    main()
