"""Processor time and memory of a run's processes, by what they are for."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import psutil

Role = Literal["actors", "server", "driver", "ray"]
ROLES: tuple[Role, ...] = get_args(Role)


def processes_here() -> list[psutil.Process]:
    """This process and all that it has started, Ray's included."""
    own = psutil.Process()
    return [own, *own.children(recursive=True)]


@dataclass(frozen=True)
class Spent:
    """User and system time of one process until now, and what the process is for."""

    role: Role
    seconds: float


def cpu_seconds(processes: Sequence[psutil.Process]) -> dict[psutil.Process, Spent]:
    """User and system time of those processes that still live."""
    spent: dict[psutil.Process, Spent] = {}
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # one that had only begun others
            times = process.cpu_times()
            spent[process] = Spent(_role(process), times.user + times.system)
    return spent


def cpu_between(
    before: Mapping[psutil.Process, Spent], after: Mapping[psutil.Process, Spent]
) -> dict[Role, float]:
    """Seconds between two looks, by role; a process that ended in between counts for nothing."""
    between: dict[Role, float] = dict.fromkeys(ROLES, 0.0)
    for process, now in after.items():
        if process in before:
            between[now.role] += now.seconds - before[process].seconds
    return between


def spent_ever(processes: Sequence[psutil.Process]) -> float:
    """User and system seconds, with those of children that have ended and were waited for."""
    spent = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            spent += sum(process.cpu_times()[:4])
    return spent


def memory_gb(processes: Sequence[psutil.Process]) -> dict[Role, float]:
    """Proportional set size by role: a page that n processes share counts as an n-th for each."""
    memory: dict[Role, float] = dict.fromkeys(ROLES, 0.0)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            memory[_role(process)] += process.memory_full_info().pss / 1e9
    return memory


def _role(process: psutil.Process) -> Role:
    if process.pid == os.getpid():
        return "driver"
    title = " ".join(process.cmdline())  # Ray names its workers after what they run
    if title.startswith("ray::ServerActor"):
        return "server"
    return "actors" if title.startswith("ray::CohortActor") else "ray"
