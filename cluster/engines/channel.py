"""A direct line between the driver and an actor: a message to and fro costs one wake-up each.

A call of a Ray actor wakes some twenty threads for each of its answers, and an actor that waits
for calls wakes a hundred times a second. So an actor gets one call for its whole life, in which it
calls the driver and does what it is told: Ray places it, and says when it died and of what.
"""

from __future__ import annotations

import hmac
import pickle
import secrets
import socket
import struct
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from metagenrl.base.checks import brief

_COUNT = struct.Struct("<Q")
_SECRET_BYTES = 32
_TO_CONNECT = 30.0  # seconds
_AT_ONCE = 256 << 10  # bytes that are on their way before the other end reads: a round's message
_TO_SAY_HELLO = 1.0  # seconds: it is sent with the connection


class ChannelLost(ConnectionError):  # noqa: N818 - reads as the event it is
    """The other end is gone, or did not take or send a message in time."""


class Channel:
    """Messages over a socket, pickled: who is at its ends has been asked for a secret."""

    def __init__(self, end: socket.socket, timeout: float | None) -> None:
        """`timeout`: seconds within which a message must go on; None: for ever."""
        end.settimeout(timeout)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _AT_ONCE)
        self._end = end

    def fileno(self) -> int:
        """For `selectors`."""
        return self._end.fileno()

    def send(self, message: Any) -> None:
        """Large arrays are not copied. Raises `ChannelLost`, and what pickling raises."""
        buffers: list[pickle.PickleBuffer] = []
        body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL, buffer_callback=buffers.append)
        parts = [memoryview(body), *(buffer.raw() for buffer in buffers)]
        head = b"".join(_COUNT.pack(n) for n in (len(parts), *(len(part) for part in parts)))
        try:
            self._end.sendall(head + body)
            for part in parts[1:]:
                self._end.sendall(part)
        except OSError as error:
            raise ChannelLost(f"not sent ({error})") from error

    def receive(self) -> Any:
        """The next message; its arrays can be written to. Raises `ChannelLost`."""
        (count,) = _COUNT.unpack(_exactly(self._end, _COUNT.size))
        lengths = struct.unpack(f"<{count}Q", _exactly(self._end, _COUNT.size * count))
        body, *buffers = [_exactly(self._end, length) for length in lengths]
        return pickle.loads(body, buffers=buffers)

    def close(self) -> None:
        """The other end will find the channel lost."""
        self._end.close()


def _exactly(end: socket.socket, length: int) -> bytearray:
    data = bytearray(length)
    view, found = memoryview(data), 0
    while found < length:
        try:
            count = end.recv_into(view[found:])
        except OSError as error:
            raise ChannelLost(f"nothing received ({error})") from error
        if not count:
            raise ChannelLost("closed by the other end")
        found += count
    return data


@dataclass(frozen=True)
class Invitation:
    """How an actor reaches the driver."""

    host: str
    port: int
    secret: bytes
    number: int  # who calls

    def accept(self) -> Channel:
        """Call the driver. Raises `ChannelLost`."""
        try:
            end = socket.create_connection((self.host, self.port), _TO_CONNECT)
            end.sendall(self.secret + _COUNT.pack(self.number))
        except OSError as error:
            raise ChannelLost(f"no line to {self.host}:{self.port} ({error})") from error
        return Channel(end, None)


class Reception:
    """Where the driver is called by those that it has invited, and by nobody else."""

    def __init__(self, host: str, timeout: float) -> None:
        """Listens at an address of this machine; `timeout` is that of the channels."""
        self._listening = socket.create_server((host, 0), backlog=1024)
        self._secret, self._timeout = secrets.token_bytes(_SECRET_BYTES), timeout

    def invitation(self, number: int) -> Invitation:
        """For one actor."""
        host, port = self._listening.getsockname()[:2]
        return Invitation(host, port, self._secret, number)

    def fileno(self) -> int:
        """For `selectors`: there is somebody to `receive`."""
        return self._listening.fileno()

    def receive(self) -> tuple[int, Channel] | None:
        """The caller's number and channel; None without the secret, and nothing is unpickled."""
        end, _ = self._listening.accept()
        end.settimeout(_TO_SAY_HELLO)
        try:
            hello = _exactly(end, _SECRET_BYTES + _COUNT.size)
        except ChannelLost:
            hello = bytearray(_SECRET_BYTES + _COUNT.size)
        if not hmac.compare_digest(hello[:_SECRET_BYTES], self._secret):
            end.close()
            return None
        return _COUNT.unpack(hello[_SECRET_BYTES:])[0], Channel(end, self._timeout)

    def close(self) -> None:
        """Nobody is heard any more."""
        self._listening.close()


@dataclass(frozen=True)
class Raised:
    """The error that a request raised at the other end."""

    error: Exception
    detail: str  # the traceback

    @staticmethod
    def of(error: Exception) -> Raised:
        """`error`, which is being handled; in words where it cannot be sent."""
        detail = "".join(traceback.format_exception(error))
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            return Raised(RuntimeError(brief(error, 400)), detail)
        return Raised(error, detail)


def requests(channel: Channel) -> Iterable[Any]:
    """The messages of the other end, until it hangs up."""
    while True:
        try:
            yield channel.receive()
        except ChannelLost:
            return
