"""A user without a home that can be written to, as in containers: libraries get another folder."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from metagenrl.base.checks import UsageError
from metagenrl.base.paths import check_writable
from metagenrl.cluster.joining.token import make_token

_PLACES = {
    "MPLCONFIGDIR": "matplotlib",
    "WANDB_CONFIG_DIR": "wandb/config",
    "WANDB_CACHE_DIR": "wandb/cache",
    "WANDB_DATA_DIR": "wandb/data",
}
"""Variables by which libraries are told where to write, and the folders for them."""
_TOKEN_VARIABLES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


def settle_home() -> str | None:
    """Where the home cannot be written to, or there is none, name libraries a temporary folder.

    It is the same one in each of the user's terminals, as Ray's token lies in it. What is there in
    the home is still read, and variables that are set stay. One line to say, or None.
    """
    home = _home()
    if home is not None and _is_usable(home):
        return None
    folder = _own_folder()
    if folder is None:
        return None  # each library says what it cannot write
    for name, place in _PLACES.items():
        os.environ.setdefault(name, str(folder / place))
    kept = home is not None and os.access(home / ".ray" / "auth_token", os.R_OK)
    if not kept and not any(name in os.environ for name in _TOKEN_VARIABLES):
        make_token(folder / "ray_auth_token")
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(folder / "ray_auth_token")
    if home is None:
        os.environ["HOME"] = str(folder)
    what = "there is none" if home is None else f"{str(home)!r} cannot be written to"
    return f"HOME: {what}; Ray, W&B and Matplotlib keep their files in {folder}"


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:  # a user id without a name, and no HOME
        return None


def _is_usable(home: Path) -> bool:
    try:
        check_writable("HOME", home)
    except UsageError:
        return False
    return True


def _own_folder() -> Path | None:
    """A temporary folder that is this user's and nobody else's."""
    folder = Path(tempfile.gettempdir()) / f"metagenrl-{os.getuid()}"
    with contextlib.suppress(OSError):
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
        mine = found.st_uid == os.getuid() and stat.S_ISDIR(found.st_mode)
        if mine and not found.st_mode & 0o077:
            return folder
    return None
