"""Paths in a configuration, made absolute before a command begins."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypeVar

from metagenrl.base.paths import user_path
from metagenrl.objective_server.snapshots.pretrained import is_pretrained
from metagenrl.runs.config.lone_agents import RANDOM_OBJECTIVE

Config = TypeVar("Config")


def absolute(config: Config) -> Config:
    """`config` with absolute paths: an environment may change the working directory."""
    values: Any = config
    paths: dict[str, Any] = {}
    for field in dataclasses.fields(values):
        value = getattr(values, field.name)
        if isinstance(value, Path):
            paths[field.name] = _absolute(value)
        elif field.name == "objective" and isinstance(value, str):
            paths[field.name] = absolute_objective(value)
    return dataclasses.replace(values, **paths)


def absolute_objective(text: str) -> str:
    """The objective of a meta-test: a path, unless it is a word for one that is no file here."""
    if text in ("", RANDOM_OBJECTIVE) or is_pretrained(text):
        return text
    return str(_absolute(user_path("objective", text)))


def _absolute(path: Path) -> Path:
    """Links stay as the user wrote them, but for a `..`, which only the disk can undo."""
    return path.resolve() if ".." in path.parts else path.absolute()
