"""The objectives that come with the package, by the names `pretrained` and `pretrained:NAME`."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

from metagenrl.base.checks import UsageError

WORD = "pretrained"
PRETRAINED = f"{WORD}[:NAME]"
"""How messages say that such a name is allowed."""
DEFAULT = "resampled"
"""What the word alone means: the best objective that does not see the critic's direction."""


def is_pretrained(objective: str | Path) -> bool:
    """Whether this names an objective of the package, and no path; `./pretrained` is a path."""
    return str(objective) == WORD or str(objective).startswith(f"{WORD}:")


def pretrained_names() -> list[str]:
    """The names of this installation's objectives, in alphabetical order."""
    return sorted(path.stem for path in _folder().glob("*.safetensors"))


def pretrained_file(objective: str | Path) -> Path:
    """The snapshot's file. Raises `UsageError`, listing the names there are, for any other."""
    _, colon, name = str(objective).partition(":")
    name = name if colon else DEFAULT
    names = pretrained_names()
    if name not in names:
        there = ", ".join(f"{WORD}:{each}" for each in names) or "none in this installation"
        raise UsageError(f"pretrained objective {name!r} is not there; there: {there}")
    return _folder() / f"{name}.safetensors"


def card_of(name: str) -> Path:
    """The card of a pretrained objective."""
    return _folder() / f"{name}.md"


def _folder() -> Path:
    return Path(str(importlib.resources.files("metagenrl.pretrained")))
