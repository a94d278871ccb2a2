"""What a raylet runs to start a worker: it has the worker forked, or starts it as Ray does.

It runs as a script in place of Ray's own `setup_worker.py` and imports nothing but the standard
library. Ray's script takes 0.25 CPU seconds for its imports, and a worker that starts from nothing
two more and 140 MB; a fork of the `fork_server` takes none of that. Where no fork comes about,
Ray's script is run with the same arguments, and the worker starts as if this one did not exist.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sys

ADDRESS = "METAGENRL_FORK_SERVER"
"""Environment variable: path of the fork server's Unix socket."""
PATIENCE = 20.0
"""Seconds that the fork server may be busy with its imports. Ray gives a worker 60."""
READY, FORKED = b"r", b"f"
"""What the server says before it reads a request, and what the forked worker says."""
LIMITS = tuple(sorted(n for name, n in vars(resource).items() if name.startswith("RLIMIT_")))


def as_it_is_here() -> dict[str, object]:
    """This process's surroundings and arguments, which a new one would take over, for JSON."""
    return {
        "arguments": sys.argv[1:],
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "group": os.getpgrp(),
        "session": os.getsid(0),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "first_to_go": _first_to_go(),
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "limits": [[limit, *resource.getrlimit(limit)] for limit in LIMITS],
    }


def _first_to_go() -> str:
    """How soon the kernel ends this process where memory runs out; raylets set it."""
    with open("/proc/self/oom_score_adj") as file:
        return file.read().strip()


def forked(address: str) -> bool:
    """Ask for the worker at the server's `address`; whether it runs.

    The server reads nothing before it has said `READY`, and it is the forked worker that says
    `FORKED`. So a caller that has given up is never served, and a `True` is never wrong.
    """
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(PATIENCE)
            line.connect(address)
            if line.recv(1) != READY:
                return False
            line.settimeout(None)
            send(line, as_it_is_here())
            return line.recv(1) == FORKED
    except (OSError, ValueError):
        return False


def send(line: socket.socket, wanted: dict[str, object]) -> None:
    """Send a request, and this process's standard files with it."""
    body = json.dumps(wanted).encode()
    socket.send_fds(line, [len(body).to_bytes(8, "big")], [0, 1, 2])
    line.sendall(body)


def as_ray_does() -> None:
    """Become Ray's own script."""
    import importlib.util

    found = importlib.util.find_spec("ray")
    assert found, "this is a worker of Ray"
    script = os.path.join(os.path.dirname(found.origin or ""), "_private/workers/setup_worker.py")
    os.execv(sys.executable, [sys.executable, script, *sys.argv[1:]])


if __name__ == "__main__":
    if not forked(os.environ.get(ADDRESS, "")):
        as_ray_does()
