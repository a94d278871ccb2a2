"""Where a run's store is, as the user names it: `file`, or a Redis by its URL."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

PASSWORD_VARIABLE = "METAGENRL_REDIS_PASSWORD"
"""Environment variable with the password of a Redis URL that has none."""

FILE = "file"
ALLOWED = "file, redis://[USER:PASSWORD@]HOST[:PORT][/DB], rediss://… (TLS; ?ssl_ca_certs=FILE …)"
_DEFAULT_PORT = 6379
_QUERY = re.compile(r"ssl_[a-z_]+")


class StoreAddress:
    """An address that can be shown, logged and saved: no text form of it has the password."""

    __slots__ = ("password", "url")

    def __init__(self, url: str = FILE, password: str | None = None) -> None:
        """`url` without the password; `parse` takes what users write."""
        self.url, self.password = url, password

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str] = os.environ) -> StoreAddress:
        """Take the password out of a URL, or from the environment where it has none.

        Raises `ValueError`, which shows no password either, for anything but `ALLOWED`.
        """
        if text == FILE:
            return cls()
        try:
            parts = urlsplit(text)
            valid = _is_redis(parts)
        except ValueError:  # a port that is no number, a bracket that is not closed
            valid = False
        if not valid:
            shown = re.sub(r"//.*@", "//***@", text)  # greedy: a password may hold an @
            shown = re.sub(r"(?i)(password=)[^&]*", r"\1***", shown)
            raise ValueError(f"store: got {shown!r}, allowed: {ALLOWED}")
        password = unquote(parts.password) if parts.password else None
        user = f"{parts.username}@" if parts.username else ""
        public = parts._replace(netloc=user + parts.netloc.rpartition("@")[2])
        return cls(public.geturl(), password or environment.get(PASSWORD_VARIABLE) or None)

    @property
    def is_redis(self) -> bool:
        """Whether this is a Redis; else it is the run's folder."""
        return self.url != FILE

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine under a name that no other machine can reach."""
        host = urlsplit(self.url).hostname or "localhost"
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    @property
    def endpoint(self) -> str:
        """`HOST:PORT`, for messages."""
        parts = urlsplit(self.url)
        return f"{parts.hostname or 'localhost'}:{parts.port or _DEFAULT_PORT}"

    def __str__(self) -> str:
        return self.url

    def __repr__(self) -> str:
        return repr(self.url)

    def __eq__(self, other: object) -> bool:
        mine = (self.url, self.password)
        return isinstance(other, StoreAddress) and mine == (other.url, other.password)

    def __hash__(self) -> int:
        return hash((self.url, self.password))

    def __reduce__(self) -> tuple[Any, ...]:  # actors get it whole
        return StoreAddress, (self.url, self.password)


def _is_redis(parts: SplitResult) -> bool:
    """Whether scheme, port, database and options are ones that we pass on."""
    options = [name for name, _ in parse_qsl(parts.query)]
    return (
        parts.scheme in ("redis", "rediss")
        and bool(parts.hostname)
        and (parts.port is None or parts.port > 0)
        and re.fullmatch(r"(/[0-9]*)?", parts.path) is not None
        and all(_QUERY.fullmatch(name) for name in options)
        and (parts.scheme == "rediss" or not options)
        and not parts.fragment
    )
