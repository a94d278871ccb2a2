"""The queue: order, resumption, failure, shares, and that nothing outlives it."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from metagenrl.base.checks import UsageError
from metagenrl.studies.job import Job, version_at
from metagenrl.studies.queue import (
    LocalProcesses,
    RunnerClosed,
    locked,
    run_here,
    run_jobs,
    share_of,
)

PROGRAM = """
import pathlib, sys, time
words = sys.argv[1:]
folder = pathlib.Path(words[words.index("--run-dir") + 1] if "--run-dir" in words
                      else words[words.index("--resume") + 1])
folder.mkdir(parents=True, exist_ok=True)
(folder / "config.yaml").touch()
with open(folder / "calls", "a") as calls:
    print(*words, file=calls)
if "slow" in words:
    time.sleep(600)
sys.exit("bad" in words)
"""


def job(folder: Path, *words: str, after: tuple[Path, ...] = (), chain: str = "") -> Job:
    return Job(folder, words, after, chain=chain, program=(sys.executable, "-c", PROGRAM))


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


def test_a_job_waits_for_what_it_needs_and_is_done_once(tmp_path: Path) -> None:
    said: list[str] = []
    jobs = [job(tmp_path / "b", "test", after=(tmp_path / "a",)), job(tmp_path / "a", "train")]
    assert run_jobs(jobs, 2, LocalProcesses(), said.append) == []
    assert said[0] == "2 of 2 jobs to do, 2 at a time"
    assert [line.split(":")[0] for line in said[1:]] == [str(tmp_path / "a"), str(tmp_path / "b")]
    assert run_here(jobs, 2) == []
    assert len(calls(tmp_path / "a")) == 1


def test_one_that_was_cut_goes_on_by_its_own_resume(tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").touch()
    run_here([job(tmp_path / "train", "train", "-x"), job(tmp_path / "test", "test", "-x")], 1)
    assert calls(tmp_path / "train") == [f"train -x --resume {tmp_path / 'train'}"]
    assert calls(tmp_path / "test") == [f"test -x --run-dir {tmp_path / 'test'} --resume"]


def test_a_failure_stops_what_needs_it_alone(tmp_path: Path) -> None:
    said: list[str] = []
    bad, good = job(tmp_path / "bad", "bad"), job(tmp_path / "good", "x")
    needs = job(tmp_path / "needs", "x", after=(bad.folder,))
    assert run_jobs([bad, needs, good], 1, LocalProcesses(), said.append) == [bad, needs]
    assert good.done
    assert not needs.folder.exists()
    assert f"failed: {bad.folder} (see {bad.folder}.log)" in said
    assert "1 jobs wait for others that are not done" in said


def test_a_folder_of_another_command_is_refused(tmp_path: Path) -> None:
    run_here([job(tmp_path / "a", "x", "1")], 1)
    job(tmp_path / "a", "x", "1").require_same()
    with pytest.raises(UsageError, match=r"out: got .*made by 'x 1'.* a new folder for 'x 2'"):
        job(tmp_path / "a", "x", "2").require_same()


def test_what_another_command_began_is_refused(tmp_path: Path) -> None:
    begun = job(tmp_path / "a", "bad", "1")
    assert run_here([begun], 1) == [begun]
    begun.require_same()
    with pytest.raises(UsageError, match=r"out: got .*made by 'bad 1'.* a new folder for 'bad 2'"):
        job(tmp_path / "a", "bad", "2").require_same()
    (begun.folder / "config.yaml").unlink()
    job(tmp_path / "a", "bad", "2").require_same()  # there is nothing to go on with


def test_a_study_that_was_moved_is_the_same(tmp_path: Path) -> None:
    before, after = Path("out/train/v/seed-0"), tmp_path / "out/train/v/seed-0"
    words = ("test", "--objective", str(before))
    run_here([job(tmp_path / "a", *words)], 1)
    job(tmp_path / "a", "test", "--objective", str(after), after=(after,)).require_same()
    other = tmp_path / "out/train/v/seed-1"
    for moved in (
        job(tmp_path / "a", "test", "--objective", str(after)),  # not the study's own
        job(tmp_path / "a", "test", "--objective", str(other), after=(other,)),
        job(tmp_path / "a", "test", "--objective", str(after), "-x", after=(after,)),
    ):
        with pytest.raises(UsageError, match=r"out: got .*made by"):
            moved.require_same()


def test_what_is_ended_has_not_failed(tmp_path: Path) -> None:
    slow, never = job(tmp_path / "slow", "slow"), job(tmp_path / "never", "x")
    runner, said = LocalProcesses(), list[str]()

    def close() -> None:
        while not (slow.folder / "calls").exists():
            time.sleep(0.02)
        runner.close()

    thread = threading.Thread(target=close)
    thread.start()
    with pytest.raises(RunnerClosed):
        run_jobs([slow, never], 1, runner, said.append)
    thread.join()
    assert said[1:] == [f"{slow.folder}: ended, it goes on with the same command"]
    assert not never.folder.exists()


def test_shares_hold_whole_chains_and_everything_once(tmp_path: Path) -> None:
    jobs = [job(tmp_path / f"{chain}{i}", "x", chain=chain) for chain in "abc" for i in range(2)]
    jobs.append(job(tmp_path / "alone", "x"))
    shares = [share_of(jobs, k, 3) for k in range(3)]
    assert sorted(j.folder.name for share in shares for j in share) == sorted(
        j.folder.name for j in jobs
    )
    assert [{j.chain for j in share} for share in shares] == [{"a", ""}, {"b"}, {"c"}]


def test_two_queues_cannot_work_on_one_folder(tmp_path: Path) -> None:
    with (
        locked(tmp_path),
        pytest.raises(UsageError, match=r"out: got .*another command works"),
        locked(tmp_path),
    ):
        pass


@pytest.mark.parametrize(
    ("held", "wanted", "message"),
    [
        (["0/1"], "", "another command works on it"),
        ([""], "0/1", "another command works on it"),
        (["0/2", "1/2"], "", "another command works on it"),
        (["0/2", "1/2"], "2/3", "workers with shares of 2 work on it"),
        (["0/2"], "0/2", "another command works on its share 0/2"),
        (["0/2"], "00/02", "another command works on its share 0/2"),
    ],
)
def test_workers_share_a_folder_by_one_number_of_parts(
    held: list[str], wanted: str, message: str, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        for share in held:
            stack.enter_context(locked(tmp_path, share))
        with pytest.raises(UsageError, match=message), locked(tmp_path, wanted):
            pass
    with locked(tmp_path, wanted):  # all are gone, and what they wrote binds nobody
        pass


@pytest.mark.parametrize(("held", "wanted"), [("", "1/3"), ("0/2", "1/3"), ("0/2", "")])
def test_a_queue_that_was_killed_leaves_its_folder_free(
    held: str, wanted: str, tmp_path: Path
) -> None:
    code = (
        "import os, signal; from pathlib import Path\n"
        "from metagenrl.studies.queue import locked\n"
        f"with locked(Path({str(tmp_path)!r}), {held!r}): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    with locked(tmp_path, wanted):
        pass


def test_a_stage_is_the_nearest_snapshot(tmp_path: Path) -> None:
    (tmp_path / "objectives").mkdir()
    for version in (0, 100, 200, 290):
        (tmp_path / "objectives" / f"objective-{version:08d}.safetensors").touch()
    assert [version_at(tmp_path, share) for share in (0, 0.2, 0.5, 0.9, 1)] == [
        0,
        100,
        100,
        290,
        290,
    ]
    with pytest.raises(UsageError, match="no snapshots"):
        version_at(tmp_path / "none", 1.0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_job_outlives_its_queue(number: int, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from metagenrl.studies.job import Job\n"
        "from metagenrl.studies.queue import run_here\n"
        f"program = (sys.executable, '-c', {PROGRAM!r})\n"
        f"run_here([Job(Path({str(tmp_path / 'a')!r}), ('slow',), program=program)], 1)\n"
    )
    queue = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    while not (tmp_path / "a" / "calls").exists():
        assert queue.poll() is None
        time.sleep(0.02)
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(queue.pid)], capture_output=True, text=True, check=False
    ).stdout.split()
    assert children
    os.kill(queue.pid, number)
    queue.wait()
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.02)
