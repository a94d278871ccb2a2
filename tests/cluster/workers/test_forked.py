"""Workers of a real Ray of our own: forked, they are what they are when they start from nothing."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from fixtures.processes import family, named

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers are not forked")

LOOK = """
import json, os, random, signal, sys, resource
import numpy as np, torch
from ray._raylet import WorkerID
parent = open(f"/proc/{os.getppid()}/cmdline").read()
one = lambda name: open(f"/proc/self/{name}").read()
status = {line.split(":")[0]: line.split()[1:] for line in one("status").splitlines()}
limits = [n for name, n in vars(resource).items() if name.startswith("RLIMIT_")]
seen = {
    "pid": os.getpid(),
    "forked": "fork_server" in parent,
    "own": [random.random(), np.random.rand(), torch.initial_seed(), WorkerID.from_random().hex()],
    "leads": os.getpgrp() not in (os.getpgid(os.getppid()), os.getpgid(DRIVER)),
    "same": {
        **os.environ, "path": sys.path, "folder": os.getcwd(),
        "main": sys.modules["__main__"].__file__, "script": sys.argv[0],
        "signals": {name: status[name] for name in ("SigBlk", "SigIgn", "SigCgt")},
        "nice": os.nice(0), "umask": status["Umask"], "oom": one("oom_score_adj"),
        "limits": [resource.getrlimit(n) for n in limits], "session": os.getsid(0) == SESSION,
        "mine": __import__("mine").HERE,
    },
}
"""

DRIVER = """
import json, os, sys
import ray
from metagenrl.cluster.joining.connect import connect

connect(lambda cpus: None, sys.argv[1])

@ray.remote(num_cpus=0.1)
class Actor:
    def look(self, source, driver, session):
        found = {"DRIVER": driver, "SESSION": session}
        exec(source, found)
        return found["seen"]

actors = []
for line in sys.stdin:  # as many more each time
    actors += [Actor.remote() for _ in range(int(line))]
    asked = [a.look.remote(sys.argv[2], os.getpid(), os.getsid(0)) for a in actors]
    print(json.dumps(ray.get(asked, timeout=120)), flush=True)
"""


class Driver:
    """A process with a Ray of its own and actors that look around."""

    def __init__(self, folder: Path, way: str) -> None:
        (folder / "mine.py").write_text("HERE = __file__")
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, way, LOOK], cwd=folder, text=True,
            env=os.environ | {"RAY_ADDRESS": "local", "RAY_TMPDIR": str(folder)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def look(self, more: int) -> list[dict[str, Any]]:
        """What the actors see, `more` of them new."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{more}\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("[{"):
                found: list[dict[str, Any]] = json.loads(line)
                return found
        raise AssertionError("the driver is gone")

    def others(self) -> list[psutil.Process]:
        """All that it has started."""
        return family(self.process.pid)[:-1]

    def fork_servers(self) -> list[psutil.Process]:
        return named(psutil.Process(self.process.pid).children(), "fork_server")


@contextlib.contextmanager
def driver(way: str) -> Iterator[Driver]:
    """The driver, and the end of all its processes."""
    with tempfile.TemporaryDirectory(prefix="mg-", dir="/tmp", ignore_cleanup_errors=True) as name:
        found = Driver(Path(name), way)
        others: list[psutil.Process] = []
        try:
            yield found
        finally:
            if found.process.poll() is None:
                others = found.others()
                found.process.kill()
            found.process.wait()
            psutil.wait_procs(others, timeout=30)


@LINUX
@pytest.mark.slow
def test_a_forked_worker_is_like_one_that_starts_from_nothing() -> None:
    seen = {}
    for way in ("fork", "spawn"):
        with driver(way) as run:
            seen[way] = run.look(3)
            folder = psutil.Process(run.process.pid).cwd()
            workers = [psutil.Process(each["pid"]) for each in seen[way]]
            servers = run.fork_servers()
            assert len(servers) == (way == "fork")
            for needless in ("dashboard.py", "/monitor.py", "ray::IDLE"):
                assert named(run.others(), needless) == []
            run.process.kill()
            assert psutil.wait_procs(workers + servers, timeout=30)[1] == []
        for each in seen[way]:
            assert each["forked"] == (way == "fork")
            assert each["leads"], "a process group of its own, which Ray ends with it"
            text = json.dumps(each["same"]).replace(folder, "HERE")
            each["same"] = {name: str(value) for name, value in json.loads(text).items()}
            for name in ("METAGENRL_FORK_SERVER", "RAY_RAYLET_PID", "RAY_TMPDIR"):
                each["same"].pop(name, None)
        for drawn in zip(*(each["own"] for each in seen[way]), strict=True):
            assert len(set(drawn)) == 3, "random numbers and identifiers of its own"
    first, *rest = seen["spawn"] + seen["fork"]
    for other in rest:
        assert set(other["same"].items()) ^ set(first["same"].items()) == set()


@LINUX
@pytest.mark.slow
def test_without_the_server_later_workers_start_from_nothing() -> None:
    with driver("fork") as run:
        before = run.look(2)
        (server,) = run.fork_servers()
        server.kill()
        after = run.look(1)
        assert [each["pid"] for each in after[:2]] == [each["pid"] for each in before]
        assert not after[2]["forked"]
        assert after[2]["same"]["mine"] == before[0]["same"]["mine"]
