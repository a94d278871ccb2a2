"""Which Ray a driver joins: the one that RAY_ADDRESS names, one on this machine, or none.

A Ray that is found and not named counts only where it was started by the same user and answers:
one that was killed leaves its address behind, and another user's has another token and other files.
"""

from __future__ import annotations

import importlib
import logging
import os
import socket
from pathlib import Path
from typing import Any

import psutil

from metagenrl.base.checks import UsageError
from metagenrl.cluster.joining.probe import AUTHENTICATION, Answer, probe

VARIABLE = "RAY_ADDRESS"
ALLOWED = (
    "HOST:PORT of a running Ray that this machine is a node of, auto (one that runs on this "
    "machine), local or unset (then one is started)"
)
_CONNECT_SECONDS = 3.0

logger = logging.getLogger(__name__)


def address_to_join() -> str | None:
    """`HOST:PORT` of the Ray to join, None where a local one is to be started.

    Sets RAY_AUTH_MODE to what the Ray that is joined asks for, unless it is set. Raises
    `UsageError` for a RAY_ADDRESS that cannot be joined, within seconds.
    """
    named = os.environ.get(VARIABLE, "").strip()
    if named == "local":
        return None
    if named and named != "auto":
        _require_host_and_port(named)
        _join(named, _refused(named))
        return named
    return _of_this_machine(told=named == "auto")


def _of_this_machine(told: bool) -> str | None:
    """The Ray that this machine is a node of; None: a local one is to be started.

    `told`: it has to be there, as RAY_ADDRESS=auto says, however it was started.
    """
    left, tried = _started_here(), []
    for found in dict.fromkeys([left, *(_running_here() if told else ())]):
        if found is None:
            continue
        try:
            _join(found, _refused(found))
            return found
        except UsageError as error:
            reason = str(error).partition("(")[2].partition("), allowed")[0]
            whose = ", of this user's last `ray start`" if found == left else ""
            tried.append((found, reason, f"{found}{whose}: {reason}"))
    if told:
        each = "; ".join(line for _, _, line in tried)
        why = f"no Ray here can be joined; {each}" if tried else "no Ray runs on this machine"
        raise UsageError(_text("auto", why))
    for found, reason, _ in tried:
        logger.warning("the Ray at %s is not joined (%s): starting a local one", found, reason)
    return None


def _text(address: str, reason: str) -> str:
    return f"{VARIABLE}: got {address!r} ({reason}), allowed: {ALLOWED}"


def _require_host_and_port(address: str) -> None:
    """Refuse what no Ray can be joined by, saying what does instead."""
    if address.startswith("ray://"):
        raise UsageError(
            _text(address, "a Ray Client; a run needs a node: `ray job submit`, or start it there")
        )
    if not is_host_and_port(address):
        raise UsageError(_text(address, "no HOST:PORT"))


def is_host_and_port(address: str) -> bool:
    """Whether it has a host's name or number and a port."""
    host, _, port = address.rpartition(":")
    number = int(port) if port.isdecimal() else 0
    return "://" not in address and bool(host) and 0 < number < 65536


def _refused(address: str) -> str | None:
    """Why nothing can be connected to at `address`, None where something can."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return f"nothing answers there: {reason.lower()}"
    return None


def _join(address: str, refused: str | None) -> None:
    """Raises `UsageError` unless the Ray at `address` would let this process join."""
    if refused is not None:
        raise UsageError(_text(address, refused))
    answer = probe(address)
    reason = _objection(answer)
    if reason is not None:
        raise UsageError(_text(address, reason))
    if answer.mode == "token" and os.environ.get(AUTHENTICATION) is None:
        raylet: Any = importlib.import_module("ray._raylet")  # compiled, without types
        os.environ[AUTHENTICATION] = answer.mode
        raylet.Config.initialize("")  # Ray has read the variable when it was imported


def _objection(answer: Answer) -> str | None:
    """Why a Ray that gave this answer cannot be joined, None where it can."""
    if answer.failure is not None:
        return answer.failure
    here = {address.address for each in psutil.net_if_addrs().values() for address in each}
    if not here & set(answer.nodes):
        nodes = ", ".join(answer.nodes[:3]) or "none"
        return f"this machine is no node of it, its nodes: {nodes}; `ray start --address` makes one"
    return None


def _started_here() -> str | None:
    """The address that this user's last `ray start` left on this machine."""
    from ray._common.utils import get_ray_address_file  # there is no public way to ask

    try:
        file = Path(get_ray_address_file(None))
        return file.read_text().strip() or None if file.stat().st_uid == os.getuid() else None
    except OSError:
        return None


def _running_here() -> list[str]:
    """The addresses of all Rays among this machine's processes, however they were started."""
    from ray._private.services import find_gcs_addresses

    return sorted(find_gcs_addresses())
