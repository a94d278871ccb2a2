from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from metagenrl.base.files.errors import CorruptFile
from metagenrl.objective_server.snapshots.errors import SnapshotNotFound
from metagenrl.objective_server.snapshots.find import (
    find_snapshot,
    read_best,
    record_best,
    snapshot_path,
    snapshot_versions,
)
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run with the versions 0, 9, 10 and 100."""
    for version in (100, 0, 9, 10):
        path = snapshot_path(tmp_path, version)
        path.parent.mkdir(exist_ok=True)
        ObjectiveSnapshot(np.ones(2), version, {}, (), 0, "r").save(path)
    return tmp_path


def test_by_number_and_word(run_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert snapshot_versions(run_dir) == [0, 9, 10, 100]
    assert find_snapshot(run_dir, 9) == snapshot_path(run_dir, 9)
    assert find_snapshot(run_dir, 0) == snapshot_path(run_dir, 0)
    assert find_snapshot(run_dir, "last") == snapshot_path(run_dir, 100)
    assert caplog.text == ""
    assert find_snapshot(run_dir) == snapshot_path(run_dir, 100)
    assert "no best version is recorded, taking the last, 100" in caplog.text
    record_best(run_dir, 10, 3.5, "return")
    assert find_snapshot(run_dir, "best") == snapshot_path(run_dir, 10)
    assert read_best(run_dir) == {"version": 10, "score": 3.5, "metric": "return"}


def test_a_file_is_itself(run_dir: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "copied.safetensors"
    elsewhere.write_bytes(snapshot_path(run_dir, 9).read_bytes())
    for version in ("best", "last", 9):
        assert find_snapshot(elsewhere, version) == elsewhere
    with pytest.raises(SnapshotNotFound, match="'10', there: version 9"):
        find_snapshot(elsewhere, 10)


def test_errors_list_what_is_there(run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(SnapshotNotFound, match="'11', there: versions 0, 9, 10, 100"):
        find_snapshot(run_dir, 11)
    with pytest.raises(SnapshotNotFound, match="no such file or folder"):
        find_snapshot(tmp_path / "nowhere", "last")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SnapshotNotFound, match="no objectives/ with snapshots"):
        find_snapshot(tmp_path / "empty", "best")
    with pytest.raises(ValueError, match="version: got 'newest', allowed: a number, best, last"):
        find_snapshot(run_dir, "newest")


def test_a_long_list_is_cut(tmp_path: Path) -> None:
    for version in range(20):
        path = snapshot_path(tmp_path, version)
        path.parent.mkdir(exist_ok=True)
        path.touch()
    with pytest.raises(SnapshotNotFound, match="20 versions from 0 to 19"):
        find_snapshot(tmp_path, 50)


def test_best_that_is_gone_or_unreadable(run_dir: Path) -> None:
    record_best(run_dir, 9, 1.0, "return")
    snapshot_path(run_dir, 9).unlink()
    with pytest.raises(SnapshotNotFound, match="'9', there: versions 0, 10, 100"):
        find_snapshot(run_dir, "best")
    (run_dir / "objectives" / "best.json").write_text("{")
    with pytest.raises(CorruptFile, match=r"best.json: not a note"):
        find_snapshot(run_dir, "best")
