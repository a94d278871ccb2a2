"""Errors of the operating system as one line that names a field."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from metagenrl.commands.shell.troubles import FULL, named


@dataclass(frozen=True)
class Config:
    out: Path


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG])
def test_a_write_that_finds_no_room_names_the_output(number: int) -> None:
    """The system names no file then; EFBIG is what `ulimit -f` ends in."""
    error = OSError(number, os.strerror(number))
    line = str(named(error, Config(Path("table"))))
    assert number in FULL
    assert line.startswith(f"out: got 'table' ({os.strerror(number).lower()}), allowed: ")
