"""The token that the processes of a local Ray know each other by."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from metagenrl.cluster.joining.probe import AUTHENTICATION


def ensure_token() -> None:
    """Make this user's token where a local Ray will want one and there is none.

    Ray makes it, too, but of two runs that begin in the same moment one would then replace the
    token that the other has begun with.
    """
    named = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ)
    if os.environ.get(AUTHENTICATION, "token") == "token" and not named:
        with contextlib.suppress(OSError, RuntimeError):  # Ray says what it cannot write
            make_token(Path.home() / ".ray" / "auth_token")


@contextlib.contextmanager
def without_its_notice() -> Iterator[None]:
    """Within, a Ray that wants a token does not warn of it: that is what is meant to be."""
    warned = logging.getLogger("ray._private.authentication.authentication_token_setup")

    def other(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Token authentication is enabled")

    warned.addFilter(other)
    try:
        yield
    finally:
        warned.removeFilter(other)


def make_token(file: Path) -> None:
    """Write a new token to `file`, unless there is one. Raises `OSError`."""
    if file.exists():
        return
    mine = file.with_name(f"{file.name}-{secrets.token_hex(8)}")
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w") as out:
        out.write(secrets.token_hex(32))
    with contextlib.suppress(FileExistsError):
        os.link(mine, file)
    mine.unlink()
