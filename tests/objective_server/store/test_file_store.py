from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from metagenrl.base.files.errors import CorruptFile
from metagenrl.objective_server.store.in_folder import FileStore


def _slot_of(folder: Path, k: int) -> str:
    """The slot whose file holds version k."""
    return next(p.stem for p in folder.glob("*.json") if f'"k":{k}' in p.read_text())


@pytest.mark.parametrize("commits", [2, 3, 4])
def test_a_torn_commit_leaves_the_one_before(tmp_path: Path, commits: int, caplog) -> None:
    store = FileStore(tmp_path)
    for k in range(commits):
        store.commit({"k": k})
    folder = tmp_path / "server"
    newest = _slot_of(folder, commits - 1)
    # Killed between the two files of a slot: the arrays are of one commit, the JSON of another.
    (folder / f"{newest}.safetensors").write_bytes(b"of another commit")
    assert FileStore(tmp_path).load() == {"k": commits - 2}
    assert f"{newest}.safetensors" in caplog.text
    # The next commit takes the torn slot, not the good one.
    resumed = FileStore(tmp_path)
    resumed.commit({"k": 10})
    assert _slot_of(folder, 10) == newest
    assert FileStore(tmp_path).load() == {"k": 10}


def test_killed_during_the_very_first_commit(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.commit({"k": 0})
    next((tmp_path / "server").glob("*.json")).unlink()
    assert FileStore(tmp_path).load() is None


def test_no_readable_slot_is_an_error_until_a_state_is_put_there(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    for k in range(2):
        store.commit({"k": k})
    for path in (tmp_path / "server").glob("*.json"):
        path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(CorruptFile, match=r"state-[01].json"):
        FileStore(tmp_path).load()
    FileStore(tmp_path).commit({"k": 5})
    assert FileStore(tmp_path).load() == {"k": 5}


def test_temporary_files_do_not_pile_up(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    for k in range(6):
        store.commit({"k": k})
    folder = tmp_path / "server"
    wanted = {f"state-{slot}.{kind}" for slot in (0, 1) for kind in ("json", "safetensors")}
    assert {path.name for path in folder.iterdir()} == wanted
    shutil.copy(folder / "state-0.json", folder / ".state-0.json.tmp")  # a killed writer's
    store = FileStore(tmp_path)
    store.commit({"k": 6})
    store.commit({"k": 7})
    assert {path.name for path in folder.iterdir()} == wanted
