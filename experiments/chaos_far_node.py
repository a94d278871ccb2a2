"""A node of Ray behind a cable that chaos pulls and plugs in again: a network namespace."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

HERE, THERE = "192.168.78.1", "192.168.78.2"
AWAY = (15.0, 30.0)  # seconds; a node that is silent for some six counts as dead


class FarNode:
    """`ray start --address` in a namespace; started again once Ray has given it up."""

    def __init__(self, folder: Path, address: str, cpus: int) -> None:
        """Make the network and start the node of `cpus` in the cluster at `address`."""
        self._name = f"mg{uuid.uuid4().hex[:6]}"
        self._folder, self._address, self._cpus = folder, address, cpus
        self._back_at: float | None = None
        self._process: subprocess.Popen[bytes] | None = None
        ends = (f"{self._name}a", f"{self._name}b")
        _ip("netns", "add", self._name)
        _ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        _ip("link", "set", ends[1], "netns", self._name)
        _ip("addr", "add", f"{HERE}/24", "dev", ends[0])
        _ip("link", "set", ends[0], "up")
        inside = ("-n", self._name)
        _ip(*inside, "addr", "add", f"{THERE}/24", "dev", ends[1])
        _ip(*inside, "link", "set", ends[1], "up")
        _ip(*inside, "link", "set", "lo", "up")
        _ip(*inside, "route", "add", "default", "via", HERE)
        self._start()

    @staticmethod
    def possible() -> bool:
        """Whether namespaces can be made here."""
        return os.geteuid() == 0 and shutil.which("ip") is not None

    def _start(self) -> None:
        ray = ["ip", "netns", "exec", self._name, sys.executable, "-m", "ray.scripts.scripts"]
        words = ["start", f"--address={self._address}", f"--node-ip-address={THERE}", "--block"]
        with open(self._folder / "far-node.log", "ab") as log:
            self._process = subprocess.Popen(
                [*ray, *words, f"--num-cpus={self._cpus}"],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def cut(self, rng: random.Random) -> bool:
        """Pull the cable for a while; False where it is out already, or the node is not there."""
        if self._back_at is not None or self._process is None or self._process.poll() is not None:
            return False
        _ip("link", "set", f"{self._name}a", "down")
        self._back_at = time.monotonic() + rng.uniform(*AWAY)
        return True

    def attend(self) -> None:
        """Plug the cable in when its time has come; start the node again where it has ended."""
        if self._back_at is not None and time.monotonic() >= self._back_at:
            self.plug()
        if self._back_at is None and self._process is not None and self._process.poll() is not None:
            self._end()
            self._start()

    def plug(self) -> None:
        """Plug the cable in now."""
        if self._back_at is not None:
            _ip("link", "set", f"{self._name}a", "up")
            self._back_at = None

    def raylets(self) -> list[int]:
        """Its raylet, if it runs."""
        found = []
        for pid in self._pids():
            with contextlib.suppress(OSError):
                if b"/raylet\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return found

    def _pids(self) -> list[int]:
        listed = subprocess.run(
            ["ip", "netns", "pids", self._name], capture_output=True, text=True, check=False
        )
        return [int(pid) for pid in listed.stdout.split()]

    def _end(self) -> None:
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def close(self) -> None:
        """End it; the network goes with it."""
        self._end()
        subprocess.run(["ip", "netns", "delete", self._name], check=False)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
