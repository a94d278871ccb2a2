"""What a run finds on its disk: none left, poisoned, damaged or malicious checkpoints."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from metagenrl.base.files.checkpoint_folder import read_folder, write_folder
from metagenrl.objective_server.snapshots.find import find_snapshot
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.objective_server.store.in_folder import FileStore
from metagenrl.runs.metrics_file import read_metrics

AGENTS = ["--agents", "3"]
AGAIN = "go on with: metagenrl train --resume"


@pytest.fixture
def disk(run) -> Iterator[Path]:
    """The run's folder, on a disk of its own of 4 MB."""
    run.folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=4m", "tmpfs", str(run.folder)]
    if os.geteuid() != 0 or subprocess.run(["mount", *options], capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    yield run.folder
    subprocess.run(["umount", "-l", str(run.folder)], check=True)


def fill(folder: Path) -> Path:
    ballast = folder / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        try:
            while file.write(b"x" * 512):
                pass
        except OSError:
            return ballast


def test_a_full_disk_stops_nothing_for_good(run, disk) -> None:
    run.start(*AGENTS, "--steps", "2000", "--keep-checkpoints", "1")
    run.wait_until(run.checkpoints)
    before = run.checkpoints()
    ballast = fill(disk)
    out = _printed_until(run, "no space left")
    assert "no space left" in out
    assert set(before) <= set(run.checkpoints()), "a checkpoint was lost"
    ballast.unlink()
    run.finish()
    metrics = read_metrics(run.folder)
    assert {row.agent for row in metrics.agents if row.steps == 2000} == {0, 1, 2}
    versions = [row.version for row in metrics.objective]
    assert versions == list(range(1, versions[-1] + 1))
    assert FileStore(run.folder).load()["version"] == versions[-1]
    assert run.checkpoints()[-1] != before[-1]


@pytest.mark.parametrize("engine", ["inprocess", "ray"])
def test_a_disk_that_stays_full_ends_in_one_line_and_not_with_0(run, disk, engine) -> None:
    run.start_impatient(5.0, *AGENTS, "--steps", "2000", "--engine", engine)
    run.wait_until(run.checkpoints)
    fill(disk)
    out = run.finish(1)
    full = rf"error: the rest could not be written: (/\S+: )?No space left on device, {AGAIN}"
    assert re.search(full, out)
    assert "Traceback" not in out


def test_a_folder_that_stays_away_ends_in_one_line_and_not_with_0(run) -> None:
    run.start_impatient(5.0, *AGENTS, "--steps", "100000")
    run.wait_until(run.checkpoints)
    run.process.send_signal(signal.SIGSTOP)
    shutil.rmtree(run.folder)
    run.process.send_signal(signal.SIGCONT)
    out = run.finish(1)
    assert "was moved, removed or unmounted" in out
    assert f", {AGAIN}" in out
    assert "Traceback" not in out
    assert not run.folder.exists()


def _printed_until(run, words: str) -> str:
    """What the run printed, up to the line with these words."""
    lines = []
    for line in run.process.stdout:
        lines.append(line)
        if words in line.lower():
            return line.lower()
    raise AssertionError("".join(lines[-50:]))


def _rewrite(run, change) -> None:
    """Put a checkpoint beside the newest that differs from it by `change`."""
    newest = run.checkpoints()[-1]
    states = read_folder(newest)
    change(states)
    shutil.rmtree(newest)
    write_folder(newest.parent, newest.name, states)


def test_an_agent_that_is_not_finite_is_given_up_and_alpha_stays_finite(run) -> None:
    run.start(*AGENTS, "--steps", "200").finish()

    def poison(states) -> None:
        states["agent-0001"]["actor_critic"]["theta"].fill(np.nan)

    _rewrite(run, poison)
    run.resume("--steps", "300").finish()
    (failed,) = [row for row in read_metrics(run.folder).events if row.what == "failed"]
    assert failed.agent == 1
    assert "FloatingPointError" in failed.message
    assert run.messages("degraded") == ["degraded: 2/3 agents"]
    last = ObjectiveSnapshot.load(find_snapshot(run.folder, "last"))
    assert np.isfinite(last.alpha).all()
    row = read_metrics(run.folder).objective[-1]
    assert row.version == last.version
    assert {row.agent for row in read_metrics(run.folder).agents if row.steps == 300} == {0, 2}


class Bomb:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def _damage(checkpoint: Path, mark: Path) -> None:
    for file in checkpoint.glob("*.safetensors"):
        file.write_bytes(pickle.dumps(Bomb(mark)))


def test_a_pickle_dressed_as_a_checkpoint_is_skipped_and_never_run(run, tmp_path) -> None:
    run.start(*AGENTS, "--steps", "300").finish()
    whole = ObjectiveSnapshot.load(find_snapshot(run.folder, "last")).alpha
    _damage(run.checkpoints()[-1], tmp_path / "mark")
    out = run.resume().finish()
    assert "is not complete" in out
    assert not (tmp_path / "mark").exists()
    # From the one before, the rest is computed again to the same bits.
    again = ObjectiveSnapshot.load(find_snapshot(run.folder, "last")).alpha
    assert np.array_equal(again, whole)


def test_with_no_sound_checkpoint_left_resuming_is_refused(run, tmp_path) -> None:
    run.start(*AGENTS, "--steps", "200").finish()
    for checkpoint in run.checkpoints():
        _damage(checkpoint, tmp_path / "mark")
    before = {p: p.read_bytes() for p in run.folder.rglob("*") if p.is_file()}
    out = run.resume("--steps", "400").finish(code=2)
    (error,) = [line for line in out.splitlines() if line.startswith("error: ")]
    assert error.startswith(f"error: resume: got '{run.folder}' (none of its 2 checkpoints is")
    assert not (tmp_path / "mark").exists()
    assert {p: p.read_bytes() for p in run.folder.rglob("*") if p.is_file()} == before
