from __future__ import annotations

import shutil

import numpy as np
import pytest

from metagenrl.base.files.checkpoint_folder import (
    newest_complete,
    prune,
    read_folder,
    verify_folder,
    write_folder,
)
from metagenrl.base.files.errors import CorruptFile


def parts(k: int = 0) -> dict[str, dict]:
    """Two parts whose files have equal sizes."""
    return {
        "server": {"alpha": np.full(4, k, np.float32), "version": k},
        "agent-0": {"alpha": np.full(4, k + 1, np.float32), "version": k + 1},
    }


def test_a_checkpoint_comes_back(tmp_path) -> None:
    path = write_folder(tmp_path / "checkpoints", "step-5", parts(5))
    assert path == tmp_path / "checkpoints" / "step-5"
    found = read_folder(path)
    assert list(found) == ["server", "agent-0"]
    np.testing.assert_array_equal(found["agent-0"]["alpha"], np.full(4, 6, np.float32))
    assert found["server"]["version"] == 5
    assert list(read_folder(path, ["agent-0"])) == ["agent-0"]
    with pytest.raises(ValueError, match=r"part: got 'agent-1', allowed: server, agent-0"):
        read_folder(path, ["agent-1"])
    assert [p.name for p in path.parent.iterdir()] == ["step-5"]


def _flip(path) -> None:
    file = path / "agent-0.safetensors"
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)


def _truncate(path) -> None:
    file = path / "server.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def _swap(path) -> None:
    # One part's file for the other's: each is sound in itself.
    a, b = path / "server.safetensors", path / "agent-0.safetensors"
    assert a.stat().st_size == b.stat().st_size
    a.rename(path / "t")
    b.rename(a)
    (path / "t").rename(b)


DAMAGE = {
    "flipped": (_flip, "agent-0.safetensors: wrong hash"),
    "truncated": (_truncate, "server.safetensors: wrong size"),
    "missing": (
        lambda p: (p / "agent-0.safetensors").unlink(),
        "agent-0.safetensors: missing file",
    ),
    "extra": (lambda p: (p / "more").write_text(""), "more: unexpected file"),
    "swapped": (_swap, "wrong hash"),
    "no manifest": (lambda p: (p / "manifest.json").unlink(), "manifest.json: missing file"),
    "empty manifest": (lambda p: (p / "manifest.json").write_text(""), "not a JSON state"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named_and_the_one_before_is_chosen(tmp_path, damage, caplog) -> None:
    good = write_folder(tmp_path, "step-8", parts(8))
    bad = write_folder(tmp_path, "step-20", parts(4))
    assert newest_complete(tmp_path) == bad
    hurt, message = DAMAGE[damage]
    hurt(bad)
    for read in (read_folder, verify_folder):
        with pytest.raises(CorruptFile, match=message):
            read(bad)
    assert newest_complete(tmp_path) == good
    assert f"checkpoint {bad} is not complete" in caplog.text
    assert message in caplog.text
    assert read_folder(good)["server"]["version"] == 8


def test_nothing_there(tmp_path) -> None:
    assert newest_complete(tmp_path / "nowhere") is None
    (tmp_path / "step-1").mkdir()
    assert newest_complete(tmp_path) is None
    with pytest.raises(CorruptFile, match=r"manifest.json: missing file"):
        read_folder(tmp_path / "step-2")


def test_a_complete_one_is_never_overwritten_a_damaged_one_is_replaced(tmp_path) -> None:
    path = write_folder(tmp_path, "step-1", parts(1))
    with pytest.raises(FileExistsError, match="step-1: exists and is complete"):
        write_folder(tmp_path, "step-1", parts(2))
    assert read_folder(path)["server"]["version"] == 1
    _flip(path)
    write_folder(tmp_path, "step-1", parts(3))
    assert read_folder(path)["server"]["version"] == 3
    assert [p.name for p in tmp_path.iterdir()] == ["step-1"]


def test_prune_keeps_the_last_by_number(tmp_path) -> None:
    for k in (2, 9, 10, 100):
        write_folder(tmp_path, f"step-{k}", parts(k))
    shutil.copytree(tmp_path / "step-2", tmp_path / ".tmp-step-11-left-by-a-killed-writer")
    (tmp_path / "notes").mkdir()
    removed = prune(tmp_path, keep=2)
    assert [path.name for path in removed] == ["step-2", "step-9"]
    assert {p.name for p in tmp_path.iterdir()} == {"step-10", "step-100", "notes"}
    assert prune(tmp_path, keep=5) == []
    assert newest_complete(tmp_path).name == "step-100"
    with pytest.raises(ValueError, match="keep: got 0"):
        prune(tmp_path, keep=0)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", "manifest"])
def test_names_stay_in_their_folder(tmp_path, name) -> None:
    with pytest.raises(ValueError, match="checkpoint: got"):
        write_folder(tmp_path / "c", name, parts())
    with pytest.raises(ValueError, match="checkpoint part: got"):
        write_folder(tmp_path / "c", "ok", {name: {}})
    assert not (tmp_path / "c").exists()


def test_a_state_that_cannot_be_written_leaves_nothing(tmp_path) -> None:
    with pytest.raises(ValueError, match="state x: got tuple"):
        write_folder(tmp_path, "step-1", {"a": {"ok": 1}, "b": {"x": (1,)}})
    assert list(tmp_path.iterdir()) == []
