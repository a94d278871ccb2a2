"""GPUs of a Ray cluster, and how actors share them."""

from __future__ import annotations

from typing import Any

import ray
import torch


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


def actor_share(actors: int, actor_cpus: float | None, cpus: float) -> float:
    """CPUs to reserve for each of `actors`: `actor_cpus`, or an even share of `cpus`, at most one.

    Raises `ValueError` where they do not fit, saying how many do.
    """
    share = actor_cpus if actor_cpus is not None else min(1.0, int(cpus / actors * 1000) / 1000)
    if share <= 0:
        raise ValueError(
            f"agents: got {actors} actors, allowed: at most {int(cpus * 1000)} on {cpus:g} CPUs"
        )
    if share * actors > cpus + 1e-6:
        fitting = int(cpus / share)
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
    """The message of an error, in one line."""
    text = str(error).strip()
    return text.splitlines()[0] if text else repr(error)


def remote(actor: Any) -> Any:
    """The actor class as Ray's decorator made it; type checkers see the plain class."""
    return actor
