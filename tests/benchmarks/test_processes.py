"""Processor time by role: what a process spent counts, that a process ends does not."""

from __future__ import annotations

import subprocess
import sys

import psutil

from benchmarks.processes import Spent, cpu_between, cpu_seconds

BUSY = "import time\nwhile True:\n    time.process_time()"


def test_a_process_that_ends_takes_nothing_away() -> None:
    with subprocess.Popen([sys.executable, "-c", BUSY]) as busy:
        processes = [psutil.Process(), psutil.Process(busy.pid)]
        while not cpu_seconds(processes)[processes[1]].seconds > 0.1:
            pass
        before = cpu_seconds(processes)
        busy.kill()
    after = cpu_seconds(processes)
    assert set(before) == set(processes)
    assert set(after) == {processes[0]}
    assert min(cpu_between(before, after).values()) >= 0


def test_time_between_two_looks_is_added_by_role() -> None:
    here, other = psutil.Process(), psutil.Process(1)
    before = {here: Spent("ray", 1.0), other: Spent("ray", 2.0)}
    after = {here: Spent("actors", 1.5), other: Spent("ray", 2.25)}  # a worker that became an actor
    assert cpu_between(before, after) == {"actors": 0.5, "server": 0.0, "driver": 0.0, "ray": 0.25}
