"""Reaching a running population through Redis, from any machine that can.

Keys, below `metagenrl:RUN`:

    :requests   list: requests as JSON, taken from its head
    :answer:ID  JSON: the answer to one, for ANSWER_EXPIRY seconds
    :status     JSON: the population's status; expires unless the driver renews it
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from typing import Any

from metagenrl.cluster.control.desk import Answer, PopulationStatus, Request
from metagenrl.objective_server.store.address import StoreAddress
from metagenrl.objective_server.store.redis_link import Client, RedisLink, connect, one_line
from metagenrl.objective_server.store.redis_snapshots import key
from metagenrl.runs.config.yaml import build

STATUS_EXPIRY = 30
"""Seconds after which a run whose driver says nothing counts as gone."""
ANSWER_EXPIRY = 3600
POLL_INTERVAL = 0.2
"""Seconds between two looks for an answer."""


class RedisMailbox:
    """The run's `Mailbox` in Redis."""

    def __init__(self, address: StoreAddress, run: str) -> None:
        """Drop the requests to an earlier process of the run."""
        self._link = RedisLink(address, "out of reach until it is back, the run goes on")
        self._run = run
        self._began = False

    def exchange(self, status: dict[str, Any] | None, answers: Sequence[Answer]) -> list[Request]:
        texts = self._link.call(lambda client: self._exchange(client, status, answers))
        began, self._began = self._began, True
        return [build(Request, json.loads(text)) for text in texts] if began else []

    def _exchange(
        self, client: Client, status: dict[str, Any] | None, answers: Sequence[Answer]
    ) -> list[bytes]:
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
        self._link.call(lambda client: client.delete(key(self._run, "status")))


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
            gone = self.status() is None  # its last answer may have come in between
            time.sleep(POLL_INTERVAL)
        self._call("lrem", "requests", 0, text)
        return None

    def _call(self, command: str, name: str, *arguments: Any) -> Any:
        import redis

        try:
            return getattr(self._client, command)(key(self._run, name), *arguments)
        except redis.RedisError as error:
            raise ConnectionError(one_line(error)) from error
