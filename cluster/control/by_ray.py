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

from metagenrl.base.checks import UsageError
from metagenrl.cluster.control.claim import Driver, Rival, claim
from metagenrl.cluster.control.desk import Answer, PopulationStatus, Request

NAMESPACE = "metagenrl"
CALL_TIMEOUT = 10.0
"""Seconds for an answer of the actor, which computes nothing."""
CLOSE_TIMEOUT = 5.0
"""Seconds that an ending run waits for its last answers to be fetched."""
CLAIM_TIMEOUT = 30.0
"""Seconds within which the name of an actor that has ended is free."""
POLL_INTERVAL = 0.2
"""Seconds between two looks for an answer."""


def actor_name(run: str) -> str:
    """The name of a run's actor within `NAMESPACE`."""
    return f"control-{run}"


@ray.remote(max_restarts=0, max_task_retries=0, num_cpus=0)
class ControlActor:
    """A mailbox. It ends with the driver, so that a run that was killed cannot be reached."""

    def __init__(self, driver: dict[str, Any]) -> None:
        self._driver, self._signs = driver, 0
        self._status: dict[str, Any] | None = None
        self._requests: list[Request] = []
        self._answers: dict[str, Answer] = {}

    def exchange(
        self, driver: dict[str, Any], status: dict[str, Any] | None, answers: Sequence[Answer]
    ) -> list[Request] | None:
        """The driver's turn; None for a process that is another run's, or a copy's."""
        if driver != self._driver:
            return None
        self._status = status
        self._signs += 1
        self._answers.update((answer.id, answer) for answer in answers)
        requests, self._requests = self._requests, []
        return requests

    def driver(self) -> tuple[dict[str, Any], int]:
        """The process whose turn it is, and how often it was."""
        return self._driver, self._signs

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

    def __init__(self, run: str, driver: Driver) -> None:
        """`driver` is this process."""
        self._run, self._driver, self._own = run, driver, driver.to_json()
        self._actor = self._start()

    def claim(self) -> None:
        """Become the run's driver. Raises `UsageError` where it has another one that is alive."""
        claim(self._run, self._driver, self._rival)

    def _rival(self) -> Rival | None:
        """The driver whose actor has the run's name; one that has ended loses its actor.

        Raises `UsageError` where that actor does not answer.
        """
        deadline = time.monotonic() + CLAIM_TIMEOUT
        while time.monotonic() < deadline:
            try:
                found, signs = ray.get(self._actor.driver.remote(), timeout=CALL_TIMEOUT)
            except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
                time.sleep(POLL_INTERVAL)  # it ends with its driver: its name is free soon
                self._actor = self._start()
                continue
            rival = Rival(Driver.from_json(found), signs)
            if found == self._own:
                return None
            if not rival.driver.gives_way_to(self._driver):
                return rival
            ray.kill(self._actor)
        raise UsageError(
            f"resume: got {self._driver.folder!r} (the actor {actor_name(self._run)} of another "
            "process does not answer), allowed: one process for a run"
        )

    def _start(self) -> Any:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor: Any = ControlActor
        return actor.options(
            name=actor_name(self._run),
            namespace=NAMESPACE,
            get_if_exists=True,
            scheduling_strategy=here,
        ).remote(self._own)

    def exchange(self, status: dict[str, Any] | None, answers: Sequence[Answer]) -> list[Request]:
        try:
            call = self._actor.exchange.remote(self._own, status, list(answers))
            requests: list[Request] | None = ray.get(call, timeout=CALL_TIMEOUT)
        except (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError):
            self._actor = self._start()
            raise
        if requests is None:
            self._actor = self._start()  # that one may have ended since
            raise ConnectionError(f"run {self._run} goes on in another process as well")
        return requests

    def close(self) -> None:
        if ray.get(self._actor.driver.remote(), timeout=CALL_TIMEOUT)[0] != self._own:
            return
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
