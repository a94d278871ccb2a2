"""Which version of an objective is meant: a number, `best` (by held-out tests) or `last`."""

from __future__ import annotations

from typing import Literal

from metagenrl.base.checks import require

Version = int | Literal["best", "last"]


def version_of(text: str) -> Version:
    """The version that the option `version` names. Raises `ValueError` for anything else."""
    if text.isdecimal():
        return int(text)
    require(text in ("best", "last"), "version", text, "best, last or a whole number >= 0")
    return "last" if text == "last" else "best"
