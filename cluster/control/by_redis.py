"""Reaching a running population through Redis, from any machine that can.

Keys, below `metagenrl:RUN`:

    :requests   list: requests as JSON, taken from its head
    :answer:ID  JSON: the answer to one, for ANSWER_EXPIRY seconds
    :status     JSON: the population's status; expires unless the driver renews it
    :driver     JSON: the process that goes on with the run, and its signs of life; expires too
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Sequence
from typing import Any

from metagenrl.cluster.control.claim import SILENCE_SECONDS, Driver, Rival, claim
from metagenrl.cluster.control.desk import Answer, PopulationStatus, Request
from metagenrl.objective_server.store.address import StoreAddress
from metagenrl.objective_server.store.redis_link import (
    Client,
    RedisLink,
    StoreUnavailable,
    connect,
    one_line,
)
from metagenrl.objective_server.store.redis_snapshots import key
from metagenrl.runs.config.yaml import build

STATUS_EXPIRY = 30
"""Seconds after which a run whose driver says nothing counts as gone."""
ANSWER_EXPIRY = 3600
POLL_INTERVAL = 0.2
"""Seconds between two looks for an answer."""


class RedisMailbox:
    """The run's `Mailbox` in Redis."""

    def __init__(self, address: StoreAddress, run: str, driver: Driver) -> None:
        """Drop the requests to an earlier process of the run. `driver` is this process."""
        self._link = RedisLink(address, "out of reach until it is back, the run goes on")
        self._run, self._driver, self._signs = run, driver, 0
        self._began = False

    def claim(self) -> None:
        """Become the run's driver. Raises `UsageError` where it has another one that is alive.

        While Redis is away nobody can tell; the run goes on without it.
        """
        with contextlib.suppress(StoreUnavailable):  # the link has said so
            claim(self._run, self._driver, lambda: self._link.call(self._rival))

    def _rival(self, client: Client) -> Rival | None:
        """Take or renew the claim; the driver that has it where that is another one."""
        name, found = key(self._run, "driver"), None

        def take(pipe: Client) -> None:
            nonlocal found
            text = pipe.get(name)
            found = None if text is None else _rival_of(text)
            if found is not None and found.driver.gives_way_to(self._driver):
                found = None
            pipe.multi()
            if found is None:
                self._signs += 1
                own = {"driver": self._driver.to_json(), "signs": self._signs}
                pipe.set(name, json.dumps(own), ex=round(SILENCE_SECONDS))

        client.transaction(take, name)
        return found

    def exchange(self, status: dict[str, Any] | None, answers: Sequence[Answer]) -> list[Request]:
        texts = self._link.call(lambda client: self._exchange(client, status, answers))
        began, self._began = self._began, True
        return [build(Request, json.loads(text)) for text in texts] if began else []

    def _exchange(
        self, client: Client, status: dict[str, Any] | None, answers: Sequence[Answer]
    ) -> list[bytes]:
        rival = self._rival(client)
        if rival is not None:
            raise ConnectionError(f"run {self._run} goes on in {rival.driver} as well")
        requests = key(self._run, "requests")
        pipe = client.pipeline(transaction=True)
        pipe.lrange(requests, 0, -1)
        pipe.delete(requests)
        for answer in answers:
            text = json.dumps(dataclasses.asdict(answer))
            pipe.set(key(self._run, f"answer:{answer.id}"), text, ex=ANSWER_EXPIRY)
        if status is not None:
            pipe.set(key(self._run, "status"), json.dumps(status), ex=STATUS_EXPIRY)
        texts: list[bytes] = pipe.execute()[0]
        return texts

    def close(self) -> None:
        """Answers outlive the driver here."""
        self._link.call(self._close)

    def _close(self, client: Client) -> None:
        if self._rival(client) is None:
            client.delete(key(self._run, "status"), key(self._run, "driver"))


def _rival_of(text: bytes) -> Rival | None:
    """The claim that stands there; None where it is none of ours."""
    try:
        values = json.loads(text)
        return Rival(Driver.from_json(values["driver"]), int(values["signs"]))
    except (ValueError, TypeError, KeyError):
        return None


class RedisRemote:
    """The `Remote` of a run with a Redis; raises `ConnectionError` where Redis is gone."""

    def __init__(self, run: str, address: StoreAddress) -> None:
        self._run, self._client = run, connect(address)

    def status(self) -> PopulationStatus | None:
        text = self._call("get", "status")
        return None if text is None else PopulationStatus.from_json(json.loads(text))

    def ask(self, request: Request, timeout: float) -> Answer | None:
        """Raises `ConnectionError` where the run ends without an answer."""
        text, deadline = json.dumps(dataclasses.asdict(request)), time.monotonic() + timeout
        self._call("rpush", "requests", text)
        gone = False
        while time.monotonic() < deadline:
            answer = self._call("get", f"answer:{request.id}")
            if answer is not None:
                return Answer(**json.loads(answer))
            if gone:
                raise ConnectionError("the run has ended")
            status = self.status()  # its last answer may have come in between
            gone = status is None or status.condition == "ended"
            time.sleep(POLL_INTERVAL)
        self._call("lrem", "requests", 0, text)
        return None

    def _call(self, command: str, name: str, *arguments: Any) -> Any:
        import redis

        try:
            return getattr(self._client, command)(key(self._run, name), *arguments)
        except redis.RedisError as error:
            raise ConnectionError(one_line(error)) from error
