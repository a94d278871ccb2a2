from __future__ import annotations

import gc
import os
import warnings
from pathlib import Path

import pytest

from metagenrl.runs.follow_file import FileFollower
from metagenrl.runs.row_codec import to_line
from metagenrl.runs.rows import EventRow

FIRST, SECOND, THIRD = (EventRow(1.0, n, "late", 1, "x") for n in (1, 2, 3))


def test_a_follower_that_is_dropped_lets_its_file_go(tmp_path: Path) -> None:
    (tmp_path / "f").write_text(to_line(FIRST))
    follower = FileFollower(tmp_path / "f")
    assert list(follower.new_rows()) == [FIRST]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        del follower
        gc.collect()
    assert not told


@pytest.mark.parametrize("stay", [False, True])
def test_rows_come_once_and_half_a_line_when_it_is_whole(tmp_path: Path, stay: bool) -> None:
    path = tmp_path / "f"
    follower = FileFollower(path, stay)
    assert list(follower.new_rows()) == []  # not there yet
    line = to_line(FIRST)
    path.write_text(line + line[:30])
    assert list(follower.new_rows()) == [FIRST]
    assert list(follower.new_rows()) == []
    with open(path, "a") as file:
        file.write(line[30:] + "no row\n" + to_line(SECOND))
    assert list(follower.new_rows()) == [FIRST, SECOND]
    path.unlink()
    assert list(follower.new_rows()) == []
    follower.close()


@pytest.mark.parametrize("stay", [False, True])
def test_a_file_that_was_replaced_is_read_from_its_beginning(tmp_path: Path, stay: bool) -> None:
    """A resumed run puts another file there, shorter or longer, and somebody may hold the first."""
    path = tmp_path / "f"
    follower = FileFollower(path, stay)
    path.write_text(to_line(FIRST) + to_line(SECOND))
    assert len(list(follower.new_rows())) == 2
    former = open(path, "a")  # noqa: SIM115 - its writer, killed after one more row
    (tmp_path / "new").write_text(to_line(FIRST) + to_line(THIRD) + to_line(THIRD))
    os.rename(tmp_path / "new", path)
    with former:
        former.write(to_line(SECOND))
    assert list(follower.new_rows()) == ([SECOND] if stay else [FIRST, THIRD, THIRD])
    follower.close()


def test_a_file_that_was_cut_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "f"
    follower = FileFollower(path)
    path.write_text(to_line(FIRST) + to_line(SECOND))
    assert len(list(follower.new_rows())) == 2
    os.truncate(path, len(to_line(FIRST)))
    assert list(follower.new_rows()) == [FIRST]
    follower.close()
