"""GPUs of a Ray cluster, and how actors share them."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from typing import Any

import ray
import torch

from metagenrl.base.process import available_cores

logger = logging.getLogger(__name__)


def gpus_here() -> int:
    """GPUs of the cluster that this process has joined, else of this machine."""
    if ray.is_initialized():
        return int(ray.cluster_resources().get("GPU", 0.0))
    return torch.cuda.device_count()


def gpu_share(actors: int, gpus: int) -> float:
    """The part of a GPU to reserve for each of `actors`, which share them evenly.

    An actor is never split over two GPUs. Raises `ValueError` where there are none.
    """
    if gpus < 1:
        raise ValueError("device: got 'cuda' (0 GPUs), allowed: cpu")
    return int(1e4 / -(-actors // gpus)) / 1e4  # Ray counts in ten thousandths


def connect(check: Callable[[float], object]) -> float:
    """Join the cluster named by RAY_ADDRESS, or start a local Ray; the CPUs that there are.

    `check` is asked before a local Ray is started, with the CPUs that it would have; what it
    raises is raised.
    """
    if not ray.is_initialized():
        address = _running_cluster()
        if address is None:
            check(available_cores())
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        # Ray runs its workers at niceness 15: next to anything else they would hardly run at all.
        os.environ.setdefault("RAY_worker_niceness", "0")
        where: dict[str, Any] = {"address": address}
        if address is None:
            cpus = available_cores()
            where = {"address": "local", "include_dashboard": False, "num_cpus": cpus}
        ray.init(log_to_driver=True, logging_level=logging.WARNING, **where)
    return float(ray.cluster_resources().get("CPU", 0.0))


def _running_cluster() -> str | None:
    """The cluster to join: RAY_ADDRESS, else one that runs on this machine; None: there is none.

    A Ray that was killed leaves its address behind, and joining it would hang for minutes.
    """
    from ray._private.services import find_bootstrap_address  # there is no public way to ask

    named = os.environ.get("RAY_ADDRESS")
    found = named or find_bootstrap_address(None)
    if named or not found:
        return found or None
    host, _, port = str(found).rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2.0).close()
    except (OSError, ValueError):
        logger.warning("no Ray answers at %s any more: starting a local one", found)
        return None
    return str(found)


def actor_share(actors: int, actor_cpus: float | None, cpus: float) -> float:
    """CPUs to reserve for each of `actors`: `actor_cpus`, or an even share of `cpus`, at most one.

    Raises `ValueError` where they do not fit, saying how many do.
    """
    share = actor_cpus if actor_cpus is not None else min(1.0, int(cpus / actors * 1000) / 1000)
    if share <= 0 or share * actors > cpus + 1e-6:
        fitting = int(cpus / share) if share > 0 else 0
        raise ValueError(
            f"agents: got {actors} actors of {share:g} CPUs each, allowed: at most {fitting} "
            f"on {cpus:g} CPUs"
        )
    return share


def has_a_core(share: float) -> bool:
    """Whether an actor that goes on ahead uses a core that nobody else would.

    Where several actors share one, another works while this one waits; that they also go on ahead
    only makes them take turns more often (20 on 2 cores: 8 % more CPU time a round).
    """
    return share >= 1.0


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    text = str(error).strip()
    return text.splitlines()[0] if text else repr(error)


def remote(actor: Any) -> Any:
    """The actor class as Ray's decorator made it; type checkers see the plain class."""
    return actor
