"""A connection to Redis that may be gone for a while."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

from metagenrl.objective_server.store.address import StoreAddress

CONNECT_TIMEOUT = 2.0
"""Seconds for a connection to be made, which is as long as an absent host may hold us up."""
CALL_TIMEOUT = 5.0
"""Seconds for an answer."""
FIRST_DELAY, LAST_DELAY = 0.5, 30.0
"""Seconds until the first attempt to reconnect, and between later ones at most."""

Client = Any
"""A `redis.Redis`; its own types leave open whether values are bytes, which ours always are."""
Result = TypeVar("Result")

logger = logging.getLogger(__name__)


class StoreUnavailable(OSError):  # noqa: N818 - reads as the state it is
    """Redis does not answer, or refuses."""


class RedisLink:
    """Calls to one Redis. While it is down, calls fail at once and one now and then is tried.

    The delay between attempts doubles from `FIRST_DELAY` to `LAST_DELAY`, less up to a half by
    chance, so that a population's processes do not all come back in the same moment.
    """

    def __init__(
        self, address: StoreAddress, what: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`what` is lost while Redis is down, for the warning: "kept locally"."""
        self.address, self._what, self._clock = address, what, clock
        self._client = connect(address)
        self._failures = 0
        self._down_since = self._retry_at = float("-inf")

    def call(self, action: Callable[[Client], Result]) -> Result:
        """The result of `action` on the client. Where an answer is lost it may be done twice.

        Raises `StoreUnavailable` where Redis cannot be reached or refuses.
        """
        import redis

        if self._clock() < self._retry_at:
            raise StoreUnavailable(f"redis {self.address.endpoint}: down")
        try:
            result = action(self._client)
        except (redis.RedisError, OSError) as error:
            raise self._failed(error) from error
        if self._failures:
            away = self._clock() - self._down_since
            logger.warning("redis %s: back after %.0f s", self.address.endpoint, away)
        self._failures, self._retry_at = 0, float("-inf")
        return result

    def _failed(self, error: Exception) -> StoreUnavailable:
        now, reason = self._clock(), one_line(error)
        if not self._failures:
            self._down_since = now
            logger.warning("redis %s: %s; %s", self.address.endpoint, reason, self._what)
        delay = min(LAST_DELAY, FIRST_DELAY * 2.0 ** min(self._failures, 16))
        self._retry_at = now + delay * random.uniform(0.5, 1.0)
        self._failures += 1
        return StoreUnavailable(f"redis {self.address.endpoint}: {reason}")


def connect(address: StoreAddress) -> Client:
    """A client, which connects with its first call; binary values."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    options: dict[str, Any] = {} if address.password is None else {"password": address.password}
    return redis.Redis.from_url(
        address.url,
        socket_connect_timeout=CONNECT_TIMEOUT,
        socket_timeout=CALL_TIMEOUT,
        protocol=2,  # 3 hides a missing password behind a complaint about the protocol
        # Once, at once: the first call after Redis came back finds its old connection dead.
        retry=Retry(NoBackoff(), 1),
        **options,
    )


def is_away(error: BaseException) -> bool:
    """Whether nobody answered, as opposed to somebody who refuses us."""
    import redis

    refused = redis.AuthenticationError | redis.exceptions.AuthorizationError
    absent = redis.ConnectionError | redis.TimeoutError | OSError
    return isinstance(error, absent) and not isinstance(error, refused)


def one_line(error: BaseException) -> str:
    """An error's message without its line breaks; its name where it has none."""
    return " ".join(str(error).split()) or type(error).__name__
