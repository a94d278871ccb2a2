"""A worker that a raylet wants started, as `setup_worker` sends it to the fork server."""

from __future__ import annotations

import argparse
import json
import socket
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """The properties that forks of one process share."""

    script: str  # Ray's `default_worker.py`
    environment: tuple[tuple[str, str], ...]
    folder: str
    context: str  # of the runtime environment, as the raylet serialises it
    session: int


@dataclass(frozen=True)
class WorkerRequest:
    """The surroundings that the worker takes over from the process that asks for it."""

    kind: Kind
    language: str
    arguments: tuple[str, ...]  # that the script is called with
    group: int
    nice: int
    first_to_go: str  # /proc/PID/oom_score_adj
    blocked: tuple[int, ...]  # signals
    limits: tuple[tuple[int, int, int], ...]  # resource, soft, hard
    files: tuple[int, int, int]  # descriptors of its stdin, stdout, stderr


def receive(line: socket.socket) -> WorkerRequest | None:
    """The request that comes over `line`; None where the caller has hung up.

    Raises `ValueError` for what `setup_worker` does not send, `OSError` where the line breaks.
    """
    head, files, _, _ = socket.recv_fds(line, 8, 3)
    if not head:
        return None
    size, body = int.from_bytes(head, "big"), b""
    while len(body) < size:
        more = line.recv(size - len(body))
        if not more:
            return None
        body += more
    stdin, stdout, stderr = files
    return _parsed(json.loads(body), (stdin, stdout, stderr))


def _parsed(sent: dict[str, Any], files: tuple[int, int, int]) -> WorkerRequest:
    """Raylets put the runtime environment and the language among the worker's own arguments."""
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False, exit_on_error=False)
    parser.add_argument("--serialized-runtime-env-context", default="{}")
    parser.add_argument("--language", default="")
    known, rest = parser.parse_known_args(sent["arguments"])
    if not rest:
        raise ValueError("a worker without a script")
    environment = tuple(sorted(sent["environment"].items()))
    context = known.serialized_runtime_env_context
    return WorkerRequest(
        kind=Kind(rest[0], environment, sent["folder"], context, sent["session"]),
        language=known.language,
        arguments=tuple(rest[1:]),
        group=sent["group"],
        nice=sent["nice"],
        first_to_go=sent["first_to_go"],
        blocked=tuple(sent["blocked"]),
        limits=tuple((limit, soft, hard) for limit, soft, hard in sent["limits"]),
        files=files,
    )
