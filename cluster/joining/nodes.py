"""What the nodes of a Ray can do: each is asked, in a task of its own, before agents start."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import (
    GetTimeoutError,
    NodeDiedError,
    RayError,
    TaskUnschedulableError,
    WorkerCrashedError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from metagenrl.base.checks import UsageError
from metagenrl.base.memory import Memory

ANSWER_SECONDS = 120.0
"""Until a node must have answered: it starts a process. Environments may take longer."""
QUIET_SECONDS = 10.0
"""After which the user is told what is waited for."""
_GONE = (GetTimeoutError, NodeDiedError, TaskUnschedulableError, WorkerCrashedError)
_REMEDY = (
    "an environment that every node can import: start in the folder of its module or with that "
    "folder in PYTHONPATH, where all nodes have it; else `ray job submit --working-dir .`, a "
    "runtime_env with py_modules, or the package installed on every node"
)


@dataclass(frozen=True)
class NodeReport:
    """A node's report of itself."""

    address: str
    memory: Memory | None  # None: no answer in time
    trouble: tuple[tuple[str, str], ...] = ()  # environments, with why they cannot be made there


@ray.remote(num_cpus=0, max_retries=1)
def look_around(address: str, environments: tuple[str, ...]) -> NodeReport:
    """The report of the node that carries this out."""
    from metagenrl.agents.environment.make import check_environment
    from metagenrl.base.memory import memory_here

    trouble = []
    for name in environments:
        try:
            check_environment(name)
        except ValueError as error:
            trouble.append((name, str(error)))
    return NodeReport(address, memory_here(), tuple(trouble))


def ask_nodes(environments: Sequence[str], env_timeout: float = 0.0) -> list[NodeReport]:
    """The reports of all nodes that are alive and have CPUs to give, in order of their addresses.

    `env_timeout`: seconds in which an environment may be made. Raises `UsageError` where one that
    the driver can make cannot be made on a node.
    """
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    tasks = {_ask(node, environments): node for node in nodes}
    seconds = max(ANSWER_SECONDS, env_timeout)
    done = _await({ref: node["NodeID"] for ref, node in tasks.items()}, seconds)
    reports = [
        _answer(ref, node["NodeManagerAddress"])
        if ref in done
        else NodeReport(node["NodeManagerAddress"], None)
        for ref, node in tasks.items()
    ]
    for report in reports:
        for name, reason in report.trouble:
            said = reason.rpartition("(")[2].rstrip(")")
            # What a program registers itself is known in it alone.
            module = "" if ":" in name else f"MODULE:{name}, whose module registers it: "
            raise UsageError(
                f"envs: got {name!r} (not on node {report.address}: {said}), "
                f"allowed: {module}{_REMEDY}"
            )
    return sorted(reports, key=lambda report: report.address)


def _ask(node: dict[str, Any], environments: Sequence[str]) -> Any:
    there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    task: Any = look_around  # type checkers see the plain function
    return task.options(scheduling_strategy=there).remote(
        node["NodeManagerAddress"], tuple(environments)
    )


def _await(tasks: Mapping[Any, str], seconds: float) -> set[Any]:
    """Those of the tasks (by the node that each was sent to) that have an answer, when all have
    one whose node is alive, or after `seconds`.

    Ray itself goes on waiting for a node that it has given up.
    """
    begun, told = time.monotonic(), False
    deadline = begun + seconds
    waiting, done = dict(tasks), set[Any]()
    while waiting and time.monotonic() < deadline:
        answered, _ = ray.wait(list(waiting), num_returns=len(waiting), timeout=1.0)
        done |= set(answered)
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        waiting = {ref: node for ref, node in waiting.items() if ref not in done and node in alive}
        if waiting and not told and time.monotonic() - begun > QUIET_SECONDS:
            told = True
            print(f"{len(waiting)} nodes make the environments (at most {seconds:g} s)", flush=True)
    return done


def _answer(reference: Any, address: str) -> NodeReport:
    """A node's report: nothing of one that was lost since, which agents are not sent to either.

    Raises `UsageError` where the node is there and this program is not.
    """
    try:
        report: NodeReport = ray.get(reference, timeout=ANSWER_SECONDS)
    except _GONE:
        return NodeReport(address, None)
    except RayError as error:
        said = str(error).strip().splitlines()[-1]
        raise UsageError(
            f"ray: node {address} could not be asked ({said}), allowed: nodes on which this "
            "program is installed in the same version"
        ) from error
    return report
