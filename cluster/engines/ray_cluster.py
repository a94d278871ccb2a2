"""GPUs of a Ray cluster, and how actors share them."""

from __future__ import annotations

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
