"""Inner loops of Evolved Policy Gradients on Ray: a fixed number of actors, no unbounded wait."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray import ObjectRef
from ray.exceptions import RayError, RayTaskError

from metagenrl.base.checks import brief
from metagenrl.baselines.epg.inner_loop import InnerLoop, InnerLoopResult, run_inner_loop
from metagenrl.cluster.epg.loops import LoopEnded

POLL_SECONDS = 1.0

logger = logging.getLogger(__name__)


@ray.remote(max_restarts=0, max_task_retries=0)
class InnerLoopWorker:
    """A process that runs inner loops, one at a time; it keeps nothing between them."""

    def __init__(self) -> None:
        import torch

        torch.set_num_threads(1)

    def run(self, loop: InnerLoop) -> InnerLoopResult:
        """Train and evaluate a new agent."""
        return run_inner_loop(loop)


@dataclass(frozen=True)
class _Assignment:
    worker: int
    index: int  # of the inner loop in its generation
    started: float


class RayLoops:
    """The `Loops` on Ray.

    A worker that dies is replaced and its loop done again, which gives the same result; a loop
    that takes too long or raises is given up.
    """

    def __init__(self, workers: int, cpus: float, timeout: float, max_restarts: int) -> None:
        self._cpus, self._timeout, self._max_restarts = cpus, timeout, max_restarts
        self._workers = [self._start() for _ in range(workers)]
        self._restarts = [0] * workers
        self._running: dict[ObjectRef[Any], _Assignment] = {}

    def _start(self) -> Any:
        worker: Any = InnerLoopWorker
        return worker.options(num_cpus=self._cpus, scheduling_strategy="SPREAD").remote()

    def run(self, loops: Sequence[InnerLoop], on_end: Callable[[LoopEnded], None]) -> None:
        waiting = list(range(len(loops)))
        idle = list(range(len(self._workers)))
        while waiting or self._running:
            while waiting and idle:
                worker, index = idle.pop(), waiting.pop(0)
                ref = self._workers[worker].run.remote(loops[index])
                self._running[ref] = _Assignment(worker, index, time.monotonic())
            done, _ = ray.wait(list(self._running), num_returns=1, timeout=POLL_SECONDS)
            for ref in done:
                assigned = self._running.pop(ref)
                ended = self._result(ref, assigned)
                if ended is None:
                    waiting.insert(0, assigned.index)
                else:
                    on_end(ended)
                idle.append(assigned.worker)
            for late in self._late():
                idle.append(late.worker)
                on_end(LoopEnded(late.index, None, f"took more than {self._timeout:g} s"))

    def _result(self, ref: ObjectRef[Any], assigned: _Assignment) -> LoopEnded | None:
        """How a loop ended; None where its worker died, which is replaced."""
        try:
            return LoopEnded(assigned.index, ray.get(ref, timeout=self._timeout))
        except RayTaskError as error:
            logger.error("an inner loop failed: %s", error)
            return LoopEnded(assigned.index, None, brief(error.cause, 400))
        except RayError as error:
            first = str(error).strip().partition("\n")[0]
            self._replace(assigned.worker, first)
            return None

    def _late(self) -> list[_Assignment]:
        """The loops whose time is over; their workers are replaced."""
        now = time.monotonic()
        late = {r: a for r, a in self._running.items() if now - a.started > self._timeout}
        for ref, assigned in late.items():
            del self._running[ref]
            self._replace(assigned.worker, "its inner loop takes too long")
        return list(late.values())

    def _replace(self, worker: int, why: str) -> None:
        self._restarts[worker] += 1
        count = self._restarts[worker]
        if count > self._max_restarts:
            raise RuntimeError(f"worker {worker}: lost for the {count}th time: {why}")
        logger.warning(
            "worker %d lost (%s), restarted (%d/%d)", worker, why, count, self._max_restarts
        )
        ray.kill(self._workers[worker])
        self._workers[worker] = self._start()

    def close(self) -> None:
        """A Ray that this process did not start is left running."""
        for worker in self._workers:
            ray.kill(worker)
