"""Asks a Ray whether it would let this process join, in a process that can be ended.

Ray's own client tries again for minutes, writes to standard error, and aborts its process where a
token is wanted and none is there.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any

SECONDS = 15.0
"""Until an answer must have come, once the process that asks has begun."""
START_SECONDS = 120.0
"""Until that process has begun: on a machine that is busy, importing Ray takes long."""
_CALL_SECONDS = 5.0
AUTHENTICATION = "RAY_AUTH_MODE"
"""Ray's variable that says whether it wants a token."""


@dataclass(frozen=True)
class Answer:
    """The answer of a Ray."""

    mode: str | None = None  # RAY_AUTH_MODE that it lets in
    nodes: tuple[str, ...] = ()  # addresses of those that are alive
    failure: str | None = None  # why it cannot be joined, one line


def probe(address: str) -> Answer:
    """The answer of what listens at `address` (HOST:PORT), within `SECONDS` of asking."""
    silence = Answer(failure=f"no answer as a Ray's after {SECONDS:.0f} s")
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__, address, str(SECONDS)],
            capture_output=True,
            text=True,
            timeout=START_SECONDS + SECONDS,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)},
        )
    except subprocess.TimeoutExpired:
        return silence
    if done.returncode == -signal.SIGALRM:
        return silence
    try:
        values = json.loads(done.stdout)
    except ValueError:
        last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        return Answer(failure=f"no answer as a Ray's: {last[0]}")
    return Answer(values["mode"], tuple(values["nodes"]), values["failure"])


def ask(address: str, seconds: float) -> Answer:
    """In the process of its own: `address` is asked with each kind of authentication.

    SIGALRM ends the process where that takes longer than `seconds`.
    """
    raylet: Any = importlib.import_module("ray._raylet")  # compiled, without types
    from ray.exceptions import AuthenticationError

    # Python's own handlers would not run while Ray's client waits; this ends the process.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    modes = _modes()
    has_token = raylet.AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True)
    for mode in modes:
        if mode == "token" and not has_token:
            continue
        os.environ[AUTHENTICATION] = mode
        raylet.Config.initialize("")
        try:
            client = raylet.GcsClient(address=address)
            mismatch = _mismatch(client)
            nodes = client.get_all_node_info(timeout=_CALL_SECONDS).values()
        except AuthenticationError:
            continue
        alive = [node.node_manager_address for node in nodes if node.state == 0]
        return Answer(mode, tuple(sorted(set(alive))), mismatch)
    return Answer(failure=_unauthorised(modes, has_token))


def _unauthorised(modes: tuple[str, ...], has_token: bool) -> str:
    """Why a Ray let in none of the kinds of authentication, and what to set."""
    places = "~/.ray/auth_token, RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
    if modes == ("disabled",):
        return "it wants a token: set RAY_AUTH_MODE=token"
    if not has_token:
        return f"it wants a token, put it in {places}"
    return f"it wants another token than the one in {places}"


def _modes() -> tuple[str, ...]:
    """The kinds of authentication to try: the one that is set, else all."""
    mode = os.environ.get(AUTHENTICATION)
    return ("disabled", "token") if mode is None else (mode,)


def _mismatch(client: Any) -> str | None:
    """How the cluster's versions differ from this process's, None where they go together."""
    import ray

    where = {"namespace": b"cluster", "timeout": _CALL_SECONDS}
    kept = client.internal_kv_get(b"CLUSTER_METADATA", **where)
    there = json.loads(kept) if kept else {}
    python = platform.python_version()
    if not there or (there["ray_version"], there["python_version"]) == (ray.__version__, python):
        return None
    theirs = f"Ray {there['ray_version']}, Python {there['python_version']}"
    return f"it runs {theirs}, this process Ray {ray.__version__}, Python {python}"


if __name__ == "__main__":
    print(json.dumps(asdict(ask(sys.argv[1], float(sys.argv[2])))))
