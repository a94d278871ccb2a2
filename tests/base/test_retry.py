"""Trying again: told once, given up in time, and only for what may pass."""

import pytest

from metagenrl.base.retry import patiently


class Disk:
    """Full for a number of writes."""

    def __init__(self, full: int, error: Exception) -> None:
        self.full, self.error, self.writes = full, error, 0

    def write(self) -> int:
        self.writes += 1
        if self.writes <= self.full:
            raise self.error
        return self.writes


def test_it_is_told_once_and_the_result_comes_in_the_end() -> None:
    told: list[str] = []
    disk = Disk(3, OSError(28, "No space left on device"))
    assert patiently(disk.write, told.append, patience=120, pause=0) == 4
    assert told == ["no space left on device; trying again for 2 minutes"]


def test_patience_ends() -> None:
    told: list[str] = []
    disk = Disk(10**9, OSError(28, "No space left on device"))
    with pytest.raises(OSError, match="No space left"):
        patiently(disk.write, told.append, patience=0.05, pause=0.001)
    assert disk.writes > 1
    assert len(told) == 1


def test_other_errors_are_no_matter_of_patience() -> None:
    disk = Disk(1, ValueError("round: got 3"))
    with pytest.raises(ValueError, match="round: got 3"):
        patiently(disk.write, pytest.fail, pause=0)
    assert disk.writes == 1
