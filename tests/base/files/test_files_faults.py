"""Real faults on files: processes killed while they write, a disk that is really full."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fixtures.servers import check_invariants

from metagenrl.base.files.checkpoint_folder import newest_complete, prune, read_folder, write_folder
from metagenrl.objective_server.store.in_folder import FileStore

COMMITS = """
import sys, numpy as np
from pathlib import Path
from metagenrl.objective_server.store.in_folder import FileStore
store = FileStore(Path(sys.argv[1]))
found = store.load()
k = found["version"] if found else 0
while True:
    k += 1
    store.commit({"version": k, "alpha": np.full(50_000, k, np.float32)})
    print(k, flush=True)
"""

CHECKPOINTS = """
import sys, numpy as np
from pathlib import Path
from metagenrl.base.files.checkpoint_folder import newest_complete, prune, write_folder
parent = Path(sys.argv[1])
newest = newest_complete(parent)
k = int(newest.name[5:]) if newest else 0
while True:
    k += 1
    state = {"version": k, "alpha": np.full(50_000, k, np.float32)}
    write_folder(parent, f"step-{k}", {"a": state, "b": state})
    print(k, flush=True)
    prune(parent, keep=2)
"""


def _kill_at_random(script: str, folder: Path, seconds: float) -> int:
    """Run a writer, SIGKILL it some time after its first acknowledgement; the last one it gave."""
    command = [sys.executable, "-c", script, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(seconds)
        process.kill()
        rest = process.stdout.read()
    return int((first + rest).split("\n")[-2])


def test_sigkill_during_commits_loses_no_acknowledged_state(tmp_path: Path) -> None:
    rng = random.Random(0)
    for _ in range(6):
        acknowledged = _kill_at_random(COMMITS, tmp_path, rng.uniform(0.0, 0.02))
        state = FileStore(tmp_path).load()
        # The commit that was cut off counts either in full or not at all.
        assert state["version"] in (acknowledged, acknowledged + 1)
        assert (state["alpha"] == state["version"]).all()
        assert state["alpha"].shape == (50_000,)


def test_sigkill_during_checkpoints_leaves_the_newest_complete(tmp_path: Path) -> None:
    rng = random.Random(1)
    for _ in range(6):
        acknowledged = _kill_at_random(CHECKPOINTS, tmp_path, rng.uniform(0.0, 0.1))
        newest = newest_complete(tmp_path)
        assert int(newest.name[5:]) in (acknowledged, acknowledged + 1)
        for state in read_folder(newest).values():
            assert state["version"] == int(newest.name[5:])
            assert (state["alpha"] == state["version"]).all()


def _state(k: int, size: int) -> dict:
    return {"version": k, "alpha": np.full(size, k, np.float32)}


def test_full_disk_keeps_the_checkpoints(small_disk: Path) -> None:
    first = write_folder(small_disk, "step-1", {"a": _state(1, 10_000)})
    for _ in range(2):
        with pytest.raises(OSError, match="No space left") as error:
            write_folder(small_disk, "step-2", {"a": _state(2, 1_000), "b": _state(2, 80_000)})
        assert error.value.errno == errno.ENOSPC
        assert [path.name for path in small_disk.iterdir()] == ["step-1"]
        assert newest_complete(small_disk) == first
        assert read_folder(first)["a"]["version"] == 1
    write_folder(small_disk, "step-3", {"a": _state(3, 10_000)})  # training went on
    assert newest_complete(small_disk).name == "step-3"
    prune(small_disk, keep=1)
    assert [path.name for path in small_disk.iterdir()] == ["step-3"]


def test_full_disk_keeps_the_committed_state(small_disk: Path) -> None:
    store = FileStore(small_disk)
    store.commit(_state(1, 10_000))
    for _ in range(3):
        with pytest.raises(OSError, match="No space left"):
            store.commit(_state(2, 80_000))
        assert FileStore(small_disk).load()["version"] == 1
        assert not list(small_disk.glob("server/.*"))  # nothing half written takes up room
    store.commit(_state(3, 10_000))
    assert FileStore(small_disk).load()["version"] == 3


def test_full_disk_keeps_the_state_beside_the_slot_that_is_written_over(small_disk: Path) -> None:
    store = FileStore(small_disk)
    for k in (1, 2):
        store.commit(_state(k, 10_000))
    for _ in range(3):
        with pytest.raises(OSError, match="No space left"):
            store.commit(_state(3, 80_000))
        assert FileStore(small_disk).load()["version"] == 2
    store.commit(_state(3, 10_000))
    assert FileStore(small_disk).load()["version"] == 3


def _fill(ballast: Path) -> None:
    with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as file:
        while True:
            file.write(b"x" * 512)


def test_full_disk_leaves_the_server_as_it_was(small_disk, make_server, make_gradient) -> None:
    server = make_server(store=FileStore(small_disk))
    server.submit([make_gradient(0)])
    ballast = small_disk / "ballast"
    _fill(ballast)
    with pytest.raises(OSError, match="No space left"):
        server.close_round(0)
    assert (server.version, server.round) == (0, 0)
    assert FileStore(small_disk).load()["version"] == 0
    check_invariants(server)
    ballast.unlink()
    assert server.close_round(0).version == 1
    assert FileStore(small_disk).load()["version"] == 1


def test_file_size_limit_in_a_child(tmp_path: Path) -> None:
    """The same as a full disk without root: writes beyond a limit fail with EFBIG."""
    script = """
import resource, signal, sys, numpy as np
from pathlib import Path
from metagenrl.base.files.checkpoint_folder import write_folder
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
parent = Path(sys.argv[1])
write_folder(parent, "step-1", {"a": {"x": np.zeros(100)}})
try:
    write_folder(parent, "step-2", {"a": {"x": np.zeros(100)}, "b": {"x": np.zeros(10_000)}})
except OSError as error:
    print(error.errno, error.filename)
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    number, _, name = done.stdout.partition(" ")
    assert int(number) == errno.EFBIG
    assert Path(name).name.startswith("b")
    assert os.listdir(tmp_path) == ["step-1"]
    assert newest_complete(tmp_path).name == "step-1"
