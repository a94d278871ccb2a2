"""Reaching a running population through a named Ray actor, from any node of its cluster."""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from metagenrl.cluster.control.desk import Answer, PopulationStatus, Request

NAMESPACE = "metagenrl"
CALL_TIMEOUT = 10.0
"""Seconds for an answer of the actor, which computes nothing."""
CLOSE_TIMEOUT = 5.0
"""Seconds that an ending run waits for its last answers to be fetched."""
POLL_INTERVAL = 0.2
"""Seconds between two looks for an answer."""


def actor_name(run: str) -> str:
    """The name of a run's actor within `NAMESPACE`."""
    return f"control-{run}"


@ray.remote(max_restarts=0, max_task_retries=0, num_cpus=0)
class ControlActor:
    """A mailbox. It ends with the driver, so that a run that was killed cannot be reached."""

    def __init__(self) -> None:
        self._status: dict[str, Any] | None = None
        self._requests: list[Request] = []
        self._answers: dict[str, Answer] = {}

    def exchange(self, status: dict[str, Any] | None, answers: Sequence[Answer]) -> list[Request]:
        """The driver's turn."""
        self._status = status
        self._answers.update((answer.id, answer) for answer in answers)
        requests, self._requests = self._requests, []
        return requests

    def uncollected(self) -> int:
        """Answers that nobody has fetched."""
        return len(self._answers)

    def status(self) -> dict[str, Any] | None:
        """The population's last status."""
        return self._status

    def ask(self, request: Request) -> None:
        """Leave a request."""
        self._requests.append(request)

    def collect(self, request_id: str) -> Answer | None:
        """Fetch an answer, once."""
        return self._answers.pop(request_id, None)

    def withdraw(self, request_id: str) -> None:
        """Take back a request that nobody has seen."""
        self._requests = [request for request in self._requests if request.id != request_id]


class RayMailbox:
    """The run's `Mailbox` as an actor; an actor that died is replaced."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._actor = self._start()

    def _start(self) -> Any:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor: Any = ControlActor
        return actor.options(
            name=actor_name(self._run),
            namespace=NAMESPACE,
            get_if_exists=True,
            scheduling_strategy=here,
        ).remote()

    def exchange(self, status: dict[str, Any] | None, answers: Sequence[Answer]) -> list[Request]:
        try:
            call = self._actor.exchange.remote(status, list(answers))
            requests: list[Request] = ray.get(call, timeout=CALL_TIMEOUT)
        except (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError):
            self._actor = self._start()
            raise
        return requests

    def close(self) -> None:
        deadline = time.monotonic() + CLOSE_TIMEOUT
        while ray.get(self._actor.uncollected.remote(), timeout=CALL_TIMEOUT):
            if time.monotonic() > deadline:
                break
            time.sleep(POLL_INTERVAL)
        time.sleep(POLL_INTERVAL)  # for the reply that carries the last one
        ray.kill(self._actor)


class RayRemote:
    """The `Remote` of a run that has an actor on this cluster."""

    def __init__(self, run: str, address: str) -> None:
        """Join the cluster at `address`. Raises `ConnectionError` where there is none."""
        self._name = actor_name(run)
        join(address)

    def status(self) -> PopulationStatus | None:
        try:
            values = self._call("status")
        except ConnectionError:
            return None
        return None if values is None else PopulationStatus.from_json(values)

    def ask(self, request: Request, timeout: float) -> Answer | None:
        """Raises `ConnectionError` where the run ends without an answer."""
        deadline = time.monotonic() + timeout
        self._call("ask", request)
        while time.monotonic() < deadline:
            answer: Answer | None = self._call("collect", request.id)
            if answer is not None:
                return answer
            time.sleep(POLL_INTERVAL)
        self._call("withdraw", request.id)
        return None

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            actor = ray.get_actor(self._name, namespace=NAMESPACE)
            return ray.get(getattr(actor, method).remote(*arguments), timeout=CALL_TIMEOUT)
        except (ValueError, ray.exceptions.RayError) as error:
            raise ConnectionError("the run has ended") from error


def join(address: str) -> None:
    """Connect this process to a running cluster. Raises `ConnectionError` where there is none."""
    host, _, port = address.rpartition(":")
    try:  # Ray itself would try for a minute
        socket.create_connection((host.strip("[]"), int(port)), timeout=5.0).close()
    except (OSError, ValueError) as error:
        raise ConnectionError(f"no Ray cluster at {address}: {error}") from error
    before = signal.getsignal(signal.SIGTERM)
    ray.init(
        address=address,
        namespace=NAMESPACE,
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=False,
    )
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)  # Ray's own prints where its C++ code was


def cluster_address() -> str:
    """Where the cluster that this process has joined can be reached."""
    return str(ray.get_runtime_context().gcs_address)
