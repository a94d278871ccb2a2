"""A run's folder: one process's alone, moved or removed while it trains, and resumed in parts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures import forks

from metagenrl.base.files import folder_lock
from metagenrl.base.files.folder_lock import (
    LOCK_FILE,
    FolderInUse,
    FolderLock,
    FolderLost,
    read_holder,
)
from metagenrl.runs.metrics_file import read_metrics

WORDS = ["--engine", "inprocess", "--wandb", "disabled"]
LONG = [*WORDS, "--steps", "100000"]


def second(*words: str) -> subprocess.CompletedProcess[str]:
    return forks.run([*forks.METAGENRL, *words], capture_output=True, text=True, timeout=300)


def learning(run: Any) -> bool:
    file = run.folder / "metrics.jsonl"
    return file.is_file() and b'"objective"' in file.read_bytes()


@pytest.mark.parametrize("words", [[], ["--take-over"]])
def test_the_second_process_is_refused_and_told_who_is_first(run: Any, words: list[str]) -> None:
    run.start(*LONG)
    run.wait_until(lambda: learning(run))
    refused = second("train", "--resume", str(run.folder), *words)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert f"in use by process {run.process.pid} on {os.uname().nodename} since " in refused.stderr
    assert f"to end that one: kill {run.process.pid}" in refused.stderr
    assert run.process.poll() is None
    run.process.kill()  # a crash: nothing is in the way of the next one
    run.process.wait()
    assert (run.folder / LOCK_FILE).exists()
    former = run.process.pid
    run.resume("--steps", "100000")
    run.wait_for_line(f"taken over from process {former} ")
    assert read_holder(run.folder / LOCK_FILE).pid == run.process.pid
    run.process.terminate()
    run.finish(143)


def test_a_run_that_was_moved_is_resumed_by_either_path(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "-a l\u00e4uft \u2713 ~\nrun"
    run.start(*WORDS, "--agents", "2", "--steps", "100")
    run.finish()
    moved = tmp_path / "elsewhere" / name
    moved.parent.mkdir()
    run.folder.rename(moved)
    monkeypatch.chdir(moved.parent)
    for steps, path in ((120, f"./{name}"), (140, str(moved))):
        resumed = second("train", "--resume", path, "--steps", str(steps), "--wandb", "disabled")
        assert (resumed.returncode, "Traceback" in resumed.stderr) == (0, False), resumed.stderr
    assert [p.name for p in moved.parent.iterdir()] == [name], "something was made beside it"
    assert read_metrics(moved).objective[-1].agent_steps == 2 * 140


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts: root")
def test_a_folder_that_can_only_be_read_is_looked_at(run: Any, tmp_path: Path) -> None:
    run.start(*WORDS, "--steps", "100")
    run.finish()
    subprocess.run(["mount", "--bind", run.folder, run.folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", run.folder], check=True)
        folder, out = str(run.folder), str(tmp_path / "out")
        looks = (
            ("top", folder, "--once"), ("objective", "show", folder),
            ("report", folder, "--out", out), ("export", folder, "--out", f"{out}.pt"),
        )  # fmt: skip
        for words in looks:
            looked = second(*words)
            assert (looked.returncode, "Traceback" in looked.stderr) == (0, False), looked.stderr
        for words in (("report", folder), ("train", "--resume", folder, "--steps", "120")):
            refused = second(*words)
            assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
            assert "Read-only file system" in refused.stderr
    finally:
        subprocess.run(["umount", run.folder], check=True)


def test_two_resumes_at_once_leave_one(run: Any) -> None:
    run.start(*LONG)
    run.wait_until(lambda: learning(run))
    run.process.terminate()
    run.finish(143)
    both = [
        forks.Popen(
            [*forks.METAGENRL, "train", "--resume", str(run.folder)], stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    try:
        deadline = time.monotonic() + 120
        while all(process.poll() is None for process in both):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        (refused,) = [process for process in both if process.poll() is not None]
        (first,) = [process for process in both if process is not refused]
        assert refused.returncode == 2
        told = refused.communicate()[1].decode()
        # Who comes within the moment in which the first one notes who it is, is told of none.
        assert f"process {first.pid} " in told or "(another process that has just begun)" in told
        first.terminate()
        first.communicate()
        assert first.returncode == 143
    finally:
        for process in both:
            process.kill()


def test_two_baselines_at_once_leave_one(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    line = f"baseline --algo td3 --env Pendulum-v1 --preset quickstart --run-dir {folder}"
    words = [*forks.METAGENRL, *line.split(), "--seeds", "1", "--steps", "300"]
    both = [forks.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(2)]
    errors = [process.communicate(timeout=300)[1].decode() for process in both]
    codes = [process.returncode for process in both]
    assert sorted(codes) == [0, 2], errors
    refused = errors[codes.index(2)]
    assert refused.startswith(f"error: run_dir: got '{folder}' (")
    assert "in use by process" in refused or "holds another run" in refused
    rows = (folder / "evaluations.jsonl").read_text().splitlines()
    steps = [json.loads(row)["steps"] for row in rows]
    assert steps == sorted(set(steps)), "rows of two processes"
    assert steps[-1] == 300


def elsewhere(folder: Path, lock: FolderLock) -> None:
    """Make the holder one on another machine."""
    values = json.loads((folder / LOCK_FILE).read_bytes())
    lock.release()
    (folder / LOCK_FILE).write_text(json.dumps(values | {"host": "far", "boot": "b", "token": "t"}))


def test_a_holder_on_another_machine_is_taken_over_when_it_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_lock, "SILENCE_SECONDS", 2.0)
    first = FolderLock(tmp_path)
    first.acquire()
    elsewhere(tmp_path, first)
    with pytest.raises(FolderInUse, match=r"on far since .*another machine.*--take-over"):
        FolderLock(tmp_path).acquire()
    lives = subprocess.Popen(
        ["sh", "-c", f"while sleep 0.2; do touch '{tmp_path / LOCK_FILE}'; done"]
    )
    try:
        with pytest.raises(FolderInUse, match="still gives signs of life"):
            FolderLock(tmp_path).acquire(take_over=True)
    finally:
        lives.kill()
        lives.wait()
    taken = FolderLock(tmp_path)
    taken.acquire(take_over=True)
    taken.check()
    elsewhere(tmp_path, taken)
    with pytest.raises(FolderLost, match="taken over by process"):
        taken.check()


def test_a_folder_that_is_moved_is_waited_for(run: Any) -> None:
    run.start(*LONG)
    run.wait_until(lambda: learning(run))
    away = run.folder.with_name("äway with spaces")
    run.folder.rename(away)
    run.wait_for_line("was moved, removed or unmounted")
    assert not run.folder.exists()  # nothing of it is made again
    assert run.process.poll() is None
    away.rename(run.folder)
    run.wait_for("waiting")
    (said,) = run.messages("waiting")
    assert "was moved, removed or unmounted" in said
    run.process.terminate()
    run.finish(143)
    run.folder.rename(away)
    run.folder = away
    before = read_metrics(away).objective[-1].round
    run.resume("--steps", "100000")
    run.wait_until(lambda: read_metrics(away).objective[-1].round > before + 100)
    run.process.terminate()
    assert "begins anew" not in run.finish(143)


def test_a_folder_that_is_removed_ends_in_one_line_when_told_to(run: Any) -> None:
    run.start(*LONG)
    run.wait_until(lambda: learning(run))
    run.process.send_signal(signal.SIGSTOP)
    shutil.rmtree(run.folder)
    run.process.send_signal(signal.SIGCONT)
    run.wait_for_line("was moved, removed or unmounted")
    assert run.process.poll() is None
    run.process.terminate()
    out = run.finish(143)
    assert "was moved, removed or unmounted" in out
    assert "Traceback" not in out
    assert not run.folder.exists()


@pytest.fixture
def mounted(run: Any, tmp_path: Path) -> Iterator[Callable[[bool], None]]:
    """The run's folder is a disk of its own, which can be taken away and put back."""
    store = tmp_path / "store"
    store.mkdir()
    run.folder.mkdir()

    def change(there: bool) -> None:
        words = ["mount", "--bind", str(store)] if there else ["umount", "-l"]
        subprocess.run([*words, str(run.folder)], capture_output=True, check=True)

    try:
        change(True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs root that may mount")
    yield change
    # `os.path.ismount` does not see a mount of the same disk.
    subprocess.run(["umount", "-l", str(run.folder)], capture_output=True)


def sizes(folder: Path) -> dict[Path, int]:
    return {file: file.stat().st_size for file in folder.rglob("*") if file.is_file()}


def test_a_folder_that_is_unmounted_is_waited_for(
    run: Any, mounted: Callable[[bool], None]
) -> None:
    run.start(*LONG)
    run.wait_until(lambda: learning(run))
    mounted(False)
    run.wait_for_line("another folder is in the place of the run")
    assert run.process.poll() is None
    left = sizes(run.folder)  # what the round of that moment wrote into the empty mount point
    time.sleep(1)
    assert sizes(run.folder) == left
    mounted(True)
    there = read_metrics(run.folder).objective[-1].round
    run.wait_until(lambda: read_metrics(run.folder).objective[-1].round > there + 50)
    run.process.terminate()
    assert "Traceback" not in run.finish(143)


@pytest.fixture
def immutable(run: Any) -> Iterator[Callable[[bool], None]]:
    """Nothing can be written to the run's folder any more, or again; also by root."""

    def change(flag: bool) -> None:
        words = ["chattr", "+i" if flag else "-i", str(run.folder)]
        try:
            subprocess.run(words, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("needs root and a file system with immutable folders")

    yield change
    change(False)


def test_a_folder_that_is_made_read_only_is_waited_for(
    run: Any, immutable: Callable[[bool], None]
) -> None:
    run.start(*LONG)
    run.wait_until(lambda: learning(run))
    immutable(True)
    run.wait_for_line("cannot be written to")
    there = read_metrics(run.folder).objective[-1].round
    assert run.process.poll() is None
    immutable(False)
    run.wait_until(lambda: read_metrics(run.folder).objective[-1].round > there + 50)
    (said,) = run.messages("waiting")
    assert f"the run's folder {run.folder} cannot be written to" in said
    run.process.terminate()
    run.finish(143)


def test_a_run_that_cannot_write_its_last_checkpoint_says_so_when_it_is_told_to_end(
    run: Any, immutable: Callable[[bool], None]
) -> None:
    run.start(*LONG)
    run.wait_until(lambda: run.checkpoints())
    immutable(True)
    subprocess.run(["chattr", "+i", str(run.folder / "checkpoints")], check=True)
    try:
        run.wait_for_line("cannot be written to")
        run.process.terminate()
        assert "SIGTERM: ended without what could not be written" in run.finish(143)
    finally:
        subprocess.run(["chattr", "-i", str(run.folder / "checkpoints")], check=True)


@pytest.mark.parametrize("part", ["checkpoints", "run.json", "config.yaml", "metrics.jsonl"])
def test_a_run_without_one_of_its_parts_is_not_resumed(run: Any, part: str) -> None:
    run.start(*WORDS, "--steps", "260").finish()
    path = run.folder / part
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = sorted(run.folder.rglob("*"))
    refused = second("train", "--resume", str(run.folder), "--steps", "400")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert part in refused.stderr
    assert sorted(run.folder.rglob("*")) == before


def test_a_run_without_a_checkpoint_yet_begins_anew_and_says_so(run: Any) -> None:
    run.start(*LONG, "--checkpoint-every", "90000")
    run.wait_until(lambda: learning(run))
    run.process.kill()
    run.process.wait()
    run.resume("--steps", "100000")
    run.wait_until(lambda: "begins anew" in (run.folder / "run.log").read_text())
    run.process.terminate()
    assert "no checkpoint yet: the run begins anew" in run.finish(143)
