from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from metagenrl.base.files.errors import CorruptFile
from metagenrl.objective_server.store.in_folder import FileStore

GOLDEN = Path(__file__).parents[2] / "golden/pairs/inprocess/server"


def _slot_of(folder: Path, k: int) -> str:
    """The slot whose file holds version k."""
    files = folder.glob("*.safetensors")
    return next(p.stem for p in files if f'"k":{k}}}'.encode() in p.read_bytes())


@pytest.mark.parametrize("commits", [2, 3, 4])
def test_a_torn_commit_leaves_the_one_before(tmp_path: Path, commits: int, caplog) -> None:
    store = FileStore(tmp_path)
    for k in range(commits):
        store.commit({"k": k})
    folder = tmp_path / "server"
    newest = _slot_of(folder, commits - 1)
    # Killed while it went over a slot: the beginning is of one commit, the end of another.
    path = folder / f"{newest}.safetensors"
    path.write_bytes(path.read_bytes().replace(f'"k":{commits - 1}'.encode(), b'"k":9'))
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
    path = next((tmp_path / "server").glob("*.safetensors"))
    path.rename(path.with_name(f".{path.name}.tmp"))
    assert FileStore(tmp_path).load() is None


def test_slots_of_an_earlier_release_are_read_and_replaced(tmp_path: Path) -> None:
    """They were two files each; a pair of which only the arrays were replaced is passed over."""
    folder = shutil.copytree(GOLDEN, tmp_path / "server")
    store = FileStore(tmp_path)
    found = store.load()
    assert found is not None
    versions = {json.loads(p.read_text())["body"]["state"]["state"]["version"]
                for p in folder.glob("*.json")}  # fmt: skip
    assert found["version"] == max(versions)
    documents = {p.name: p.read_bytes() for p in folder.glob("*.json")}
    store.commit(found | {"version": 1_000})
    (left,) = folder.glob("*.json")
    (gone,) = set(documents) - {left.name}
    (folder / gone).write_bytes(documents[gone])  # killed before it was removed
    loaded = FileStore(tmp_path).load()
    assert loaded is not None
    assert loaded["version"] == max(versions)
    store = FileStore(tmp_path)
    for version in (1_001, 1_002):
        store.commit(found | {"version": version})
    assert {p.suffix for p in folder.iterdir()} == {".safetensors"}
    loaded = FileStore(tmp_path).load()
    assert loaded is not None
    assert loaded["version"] == 1_002


def test_no_readable_slot_is_an_error_until_a_state_is_put_there(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    for k in range(2):
        store.commit({"k": k})
    for path in (tmp_path / "server").glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(CorruptFile, match=r"state-[01].safetensors: wrong hash"):
        FileStore(tmp_path).load()
    FileStore(tmp_path).commit({"k": 5})
    assert FileStore(tmp_path).load() == {"k": 5}


def test_temporary_files_do_not_pile_up(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    for k in range(6):
        store.commit({"k": k})
    folder = tmp_path / "server"
    wanted = {f"state-{slot}.safetensors" for slot in (0, 1)}
    assert {path.name for path in folder.iterdir()} == wanted
    left = folder / ".state-0.safetensors.tmp"  # a killed writer's
    shutil.copy(folder / "state-0.safetensors", left)
    store = FileStore(tmp_path)
    store.commit({"k": 6})
    store.commit({"k": 7})
    assert {path.name for path in folder.iterdir()} == wanted
