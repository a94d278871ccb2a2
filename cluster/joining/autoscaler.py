"""Asking a cluster's autoscaler for CPUs, and not waiting for them without a word or an end."""

from __future__ import annotations

import time

import ray
from ray.autoscaler.sdk import request_resources

from metagenrl.base.checks import UsageError

_LOOK_SECONDS = 1.0


def await_cpus(wanted: int, seconds: float) -> float:
    """The CPUs of the cluster, once it has `wanted` of them; 0 wanted: those that it has.

    The request is taken back in any case: agents keep the nodes that they work on. Raises
    `UsageError`, which says what is there and how to go on with it, after `seconds`.
    """
    cpus = _cpus()
    if cpus >= wanted:
        return cpus
    print(f"waiting up to {seconds:.0f} s for {wanted} CPUs, {cpus:g} are there", flush=True)
    deadline = time.monotonic() + seconds
    request_resources(num_cpus=wanted)
    try:
        while (now := _cpus()) < wanted and time.monotonic() < deadline:
            if now != cpus:
                print(f"{now:g} of {wanted} CPUs are there", flush=True)
                cpus = now
            time.sleep(_LOOK_SECONDS)
    finally:
        request_resources(num_cpus=0)
    if now < wanted:
        nodes = sum(node["Alive"] for node in ray.nodes())
        go_on = f"--cluster-cpus {int(now)} goes on with them" if now >= 1 else "a larger cluster"
        raise UsageError(
            f"cluster_cpus: got {wanted} ({now:g} CPUs on {nodes} nodes after {seconds:.0f} s), "
            f"allowed: at most what the cluster grants: {go_on}, or more time (--cluster-wait)"
        )
    return now


def _cpus() -> float:
    return float(ray.cluster_resources().get("CPU", 0.0))
