"""The token that the processes of a local Ray know each other by."""

from __future__ import annotations

import contextlib
import os
import secrets
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
