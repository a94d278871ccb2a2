"""The population that chaos strikes: nodes of Ray, a Redis, a driver that is resumed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from chaos_far_node import FarNode
from chaos_pauses import Pauses
from chaos_redis import RedisServer
from ray.cluster_utils import Cluster

from metagenrl.base.files.checkpoint_folder import newest_complete
from metagenrl.runs.metrics_file import read_metrics
from metagenrl.runs.names import METRICS_FILE

AGENTS = 3
LEG, LAST = 1_000, 400  # steps of each agent, by which a goal moves on; at least, undisturbed
FLAGS = (
    "--preset quickstart --hidden-units 16 --batch-size 8 --learning-starts 40 --random-steps 60 "
    "--lifetime 150 --lifetime-random-steps 50 --envs Pendulum-v1 InvertedDoublePendulum-v5 "
    "--wandb disabled --checkpoint-every 20 --keep-checkpoints 2 --snapshot-every 20 "
    "--log-every 50 --max-restarts 100000 --round-timeout 10 --agent-cpus 1"
)
DEADLINE = 10.0  # of a round, seconds
TERMINATED = (143, 15)  # exit codes after SIGTERM: the driver's, and Ray's while that is starting
NODES = 2
NODE_CPUS = AGENTS  # either of the two nodes could have all the agents


class Population:
    """A `metagenrl train` that is resumed whenever it ends, and the nodes that it runs on."""

    def __init__(self, run_dir: Path, seed: int) -> None:
        # A lost node is noticed after seconds, not after half a minute.
        os.environ |= {"RAY_health_check_period_ms": "1000", "RAY_worker_niceness": "0"}
        os.environ["RAY_AUTH_MODE"] = "disabled"  # of all nodes, however they are started
        os.environ["RAY_TMPDIR"] = str(run_dir.parent)  # other runs on this machine do not join
        self._run_dir, self._goal = run_dir, LEG
        self.redis = RedisServer(run_dir.parent / "redis")
        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        self._missing = NODES
        for _ in range(NODES):
            self._add_nodes()
        self.pauses = Pauses()
        address = str(self._cluster.address)
        self.far = FarNode(run_dir.parent, address, NODE_CPUS) if FarNode.possible() else None
        self._environment = os.environ | {"RAY_ADDRESS": address}
        self._log = open(run_dir.with_suffix(".log"), "wb")  # noqa: SIM115 - until close
        self.resumed = 0
        self.broken_promises: list[str] = []
        flags = ["--run-dir", str(run_dir), "--agents", str(AGENTS), "--seed", str(seed)]
        flags += ["--store", self.redis.url]
        self._driver = self._train(*FLAGS.split(), *flags)

    def _train(self, *words: str) -> subprocess.Popen[bytes]:
        self._under_way, self._seen, self._terminated = False, (0, 0), False
        code = "from metagenrl.commands.main import main; main()"
        argv = [sys.executable, "-c", code, "train", *words, "--steps", str(self._goal)]
        return subprocess.Popen(
            argv, env=self._environment, stdout=self._log, stderr=subprocess.STDOUT
        )

    def wait_until_training(self, seconds: float = 900.0) -> None:
        """Until there is a first checkpoint. Raises `TimeoutError`."""
        deadline = time.monotonic() + seconds
        while newest_complete(self._run_dir / "checkpoints") is None:
            if time.monotonic() > deadline or self._driver.poll() is not None:
                raise TimeoutError(f"the run did not begin, see {self._log.name}")
            time.sleep(0.5)

    def under_way(self) -> bool:
        """Whether the driver that is there has trained: its metrics grow.

        A driver that begins replaces the file by its sound beginning, which is another file.
        """
        metrics = self._run_dir / METRICS_FILE
        if not self._under_way and metrics.exists():
            (file, size), found = self._seen, metrics.stat()
            self._under_way = found.st_ino == file and found.st_size > size
            self._seen = (found.st_ino, found.st_size)
        return self._under_way

    def attend(self) -> None:
        """Bring back what was killed: Redis, nodes, the driver, also one that is at its goal."""
        self.redis.attend()
        self.pauses.attend()
        if self.far is not None:
            self.far.attend()
        self._add_nodes()
        code = self._driver.poll()
        if code is None:
            return
        if code == 0:
            self._goal += LEG
        elif code > 0 and not (self._terminated and code in TERMINATED):
            self.broken_promises.append(f"the driver ended with exit code {code}")
        self._expect_acknowledged_checkpoint()
        self.resumed += 1
        self._driver = self._train("--resume", str(self._run_dir))

    def _expect_acknowledged_checkpoint(self) -> None:
        """The newest checkpoint that the run said it had written must be there, or a newer one."""
        events = [e for e in read_metrics(self._run_dir).events if e.what == "checkpoint"]
        acknowledged = max((int(e.message.removeprefix("round ")) for e in events), default=0)
        newest = newest_complete(self._run_dir / "checkpoints")
        there = 0 if newest is None else int(newest.name.removeprefix("round-"))
        if there < acknowledged:
            self.broken_promises.append(f"checkpoint {acknowledged} was lost, {there} is there")

    def finish(self, seconds: float) -> bool:
        """Kill the driver once more and let the run go on to its goal, which is at least `LAST`
        steps away; whether it did in time."""
        self.redis.ensure()
        self.pauses.end()
        if self.far is not None:
            self.far.plug()
        self._driver.kill()
        self._driver.wait()
        taken = [row.steps for row in read_metrics(self._run_dir).agents]
        self._goal = max(self._goal, max(taken, default=0) + LAST)
        self.attend()
        try:
            return self._driver.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            return False

    def driver(self) -> list[int]:
        """Its process."""
        return [self._driver.pid] if self._driver.poll() is None else []

    def terminate(self) -> bool:
        """Ask the driver to end, as Slurm or Kubernetes do; False where it is ending already."""
        if self._terminated or self._driver.poll() is not None:
            return False
        self._terminated = True
        self._driver.send_signal(signal.SIGTERM)
        return True

    def actors(self, name: str) -> list[int]:
        """Processes of the actors of this class, on all nodes."""
        nodes = [self._cluster.head_node, *self._cluster.worker_nodes]
        raylets = [*map(_raylet, nodes), *(self.far.raylets() if self.far is not None else ())]
        return [pid for raylet in raylets for pid in _actors(raylet, name)]

    def lose_node(self, rng: random.Random) -> bool:
        """Kill all of a node's processes and put another node in its place."""
        if self._missing:
            return False
        self._replace(rng.choice(sorted(self._cluster.worker_nodes, key=_raylet)))
        return True

    def lose_raylet(self, rng: random.Random) -> bool:
        """Kill a node's raylet only: its actors have to notice. Another node takes its place."""
        if self._missing:
            return False
        node = rng.choice(sorted(self._cluster.worker_nodes, key=_raylet))
        os.kill(_raylet(node), signal.SIGKILL)
        self._replace(node)
        return True

    def _replace(self, node: Any) -> None:
        self._cluster.remove_node(node, allow_graceful=False)
        self._missing += 1
        self._add_nodes()

    def _add_nodes(self) -> None:
        """Start the nodes that are missing; Ray gives one up that takes more than 30 seconds."""
        while self._missing:
            try:
                self._cluster.add_node(num_cpus=NODE_CPUS)
            except Exception as error:  # Ray's own is of no other class
                print(f"a node did not come up, trying again: {error}", file=sys.stderr)
                return
            self._missing -= 1

    def facts(self) -> dict[str, int]:
        """What the run has come to."""
        metrics = read_metrics(self._run_dir)
        last = metrics.objective[-1]
        restarts = [row for row in metrics.events if row.what == "restarted"]
        return {
            "agents": AGENTS,
            "versions of the objective": last.version,
            "gradients applied": last.accepted,
            "gradients rejected": last.rejected,
            "agent steps": last.agent_steps,
            "agents restarted (rows that resuming kept)": len(restarts),
        }

    def close(self) -> None:
        """End the driver and the cluster."""
        self.pauses.end()
        self._driver.kill()
        self._driver.wait()
        if self.far is not None:
            self.far.close()
        self._cluster.shutdown()
        for process in psutil.Process().children(recursive=True):  # of nodes given up
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.redis.close()
        self._log.close()


def _raylet(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)


def _actors(raylet: int, name: str) -> list[int]:
    try:
        family = psutil.Process(raylet).children()
    except psutil.NoSuchProcess:
        return []
    found = []
    for process in family:
        try:
            if f"ray::{name}" in " ".join(process.cmdline()):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found
