"""Talking to a running population: messages, the way they take, and the desk they arrive at.

The driver keeps a `ControlDesk`: a thread that fetches requests and delivers answers and the
population's status, so that the way there (a Ray actor, a Redis) may be slow or gone for a while
without training noticing.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Protocol

from metagenrl.cluster.control.claim import Driver
from metagenrl.cluster.view.status import RunStatus
from metagenrl.runs.rows import AgentRow

Action = Literal["scale", "pause", "resume", "stop"]
Condition = Literal["running", "paused", "waiting", "ended"]
"""`waiting`: for its folder or its disk."""
Outcome = Literal["done", "refused", "failed"]
"""`refused`: it asks for something that cannot be; `failed`: it may be asked again."""

FETCH_INTERVAL = 0.5
"""Seconds between two looks for requests."""
STATUS_INTERVAL = 1.0
"""Seconds between two statuses."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """A request to a running population."""

    action: Action
    agents: int | None = None  # how many it shall have; for "scale"
    rejoin: bool = False  # whether agents that left come back as they were; for "scale"
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True)
class Answer:
    """The answer to a request."""

    id: str
    outcome: Outcome
    message: str  # one line


@dataclass(frozen=True)
class PopulationStatus:
    """A population as it was at some moment."""

    condition: Condition
    present: int  # agents
    working: int  # agents that have neither finished nor failed
    time: float  # seconds since the epoch
    run: RunStatus
    driver: Driver | None = None  # which the desk adds

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> PopulationStatus:
        """Undo `to_json`."""
        run = dict(values["run"])
        run["agents"] = [AgentRow(**row) for row in run["agents"]]
        driver = values.get("driver")
        driver = None if driver is None else Driver.from_json(driver)
        return cls(**{**values, "run": RunStatus(**run), "driver": driver})


class Mailbox(Protocol):
    """The driver's end of the way between it and those who ask."""

    def exchange(self, status: dict[str, Any] | None, answers: Sequence[Answer]) -> list[Request]:
        """Publish the status, deliver answers, fetch requests; raises where it is out of order."""
        ...

    def close(self) -> None:
        """Wait, for a few seconds at most, until the last answers are taken, and go away."""
        ...


class Remote(Protocol):
    """The other end."""

    def status(self) -> PopulationStatus | None:
        """The last status; None where the run is not going on."""
        ...

    def ask(self, request: Request, timeout: float) -> Answer | None:
        """The answer, or None where there was none in time."""
        ...


class ControlDesk:
    """Where the driver takes requests from and leaves answers and its status; never blocks."""

    def __init__(self, mailbox: Mailbox | None, driver: Driver | None = None) -> None:
        """With no mailbox nobody can reach the run. `driver` is this process."""
        self._mailbox, self._driver = mailbox, driver
        self._lock = threading.Lock()
        self._requests: list[Request] = []
        self._prepared: list[Answer] = []  # go out with the next status
        self._answers: list[Answer] = []
        self._status: dict[str, Any] | None = None
        self._due = float("-inf")
        self._failing = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="control", daemon=True)

    def begin(self) -> None:
        """Give signs of life, also before there is a status."""
        if self._mailbox is not None and self._thread.ident is None:
            self._thread.start()

    def requests(self) -> list[Request]:
        """The requests since the last call."""
        with self._lock:
            requests, self._requests = self._requests, []
        return requests

    def answer(self, request: Request, outcome: Outcome, message: str) -> None:
        """Have an answer delivered, with the next status, so that neither is older than it."""
        self._prepared.append(Answer(request.id, outcome, message))

    def post(self, status: Callable[[], PopulationStatus]) -> None:
        """Publish the status; it is asked for only when it is time for another one."""
        now = time.monotonic()
        if self._mailbox is None or (now < self._due and not self._prepared):
            return
        self._due = now + STATUS_INTERVAL
        values = replace(status(), driver=self._driver).to_json()
        with self._lock:
            self._status = values
            self._answers += self._prepared
        self._prepared = []
        self.begin()  # where it had not: the first status goes out at once

    def end(self, status: Callable[[], PopulationStatus]) -> None:
        """Publish the last status and what is left; signs of life go on until `close`."""
        self._due = float("-inf")
        self.post(status)

    def close(self) -> None:
        """Deliver what is left, in a few seconds at most; once."""
        if self._mailbox is None or self._closing.is_set():
            return
        self._closing.set()
        self.begin()
        self._thread.join(timeout=15.0)

    def _work(self) -> None:
        assert self._mailbox is not None
        self._exchange(self._mailbox)
        while not self._closing.wait(FETCH_INTERVAL):
            self._exchange(self._mailbox)
        self._exchange(self._mailbox)
        try:
            self._mailbox.close()
        except Exception as error:
            self._failed(error)

    def _exchange(self, mailbox: Mailbox) -> None:
        with self._lock:
            answers, status = list(self._answers), self._status
        try:
            requests = mailbox.exchange(status, answers)
        except Exception as error:
            self._failed(error)
            return
        self._failing = False
        with self._lock:
            del self._answers[: len(answers)]
            self._requests += requests

    def _failed(self, error: Exception) -> None:
        if not self._failing:
            logger.warning(
                "control: %s; the run goes on out of reach", " ".join(str(error).split())
            )
        self._failing = True
