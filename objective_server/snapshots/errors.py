"""Errors of the objective server and its files; each survives pickling between processes."""

# The names say what is wrong; "Error" would add nothing to `except CorruptFile`.
# ruff: noqa: N818

from __future__ import annotations

from pathlib import Path


class WrongArchitecture(ValueError):
    """An objective has another architecture or size than the one it should be used as."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(found, expected)
        self.found, self.expected = found, expected

    def __str__(self) -> str:
        return f"objective architecture: got {self.found}, expected {self.expected}"


class WrongGradientSize(ValueError):
    """A gradient does not have one float32 value for each of the objective's parameters."""

    def __init__(self, agent: int, environment: str, found: str, expected: str) -> None:
        super().__init__(agent, environment, found, expected)
        self.agent, self.environment = agent, environment
        self.found, self.expected = found, expected

    def __str__(self) -> str:
        who = f"gradient of agent {self.agent} ({self.environment})"
        return f"{who}: got {self.found}, expected {self.expected}"


class SnapshotNotFound(ValueError):
    """No snapshot answers the request; the message lists the versions that are there."""

    def __init__(self, where: Path | str, wanted: str, there: str) -> None:
        super().__init__(str(where), wanted, there)
        self.where, self.wanted, self.there = Path(where), wanted, there

    def __str__(self) -> str:
        return f"{self.where}: no objective snapshot {self.wanted!r}, there: {self.there}"
