"""Reaching a running population from another process: through Redis, and through Ray."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from fixtures import forks

from metagenrl.commands.main import main
from metagenrl.objective_server.snapshots.find import find_snapshot, snapshot_versions
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.objective_server.store.address import PASSWORD_VARIABLE, StoreAddress
from metagenrl.objective_server.store.in_redis import RedisStore
from metagenrl.objective_server.store.redis_link import RedisLink
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.folder import open_run
from metagenrl.runs.metrics_file import read_metrics

TINY = (
    *("--preset", "quickstart", "--hidden-units", "16", "--batch-size", "8"),
    *("--learning-starts", "40", "--random-steps", "60", "--agents", "2", "--lifetime", "0"),
    *("--envs", "Pendulum-v1", "InvertedDoublePendulum-v5", "--wandb", "disabled"),
    *("--checkpoint-every", "100", "--snapshot-every", "50", "--log-every", "50"),
)
PASSWORD = "s3cret-pw"


@dataclass(frozen=True)
class Reply:
    """What came of a command."""

    code: int
    out: str
    err: str


def metagenrl(*words: str) -> list[str]:
    return [*forks.METAGENRL, *words]


def ask_elsewhere(*words: str) -> Reply:
    """A command in a process of its own."""
    process = forks.run(metagenrl(*words), capture_output=True, text=True, timeout=500)
    return Reply(process.returncode, process.stdout, process.stderr)


def told_elsewhere(*words: str) -> str:
    """What a command prints that succeeds."""
    reply = ask_elsewhere(*words)
    assert reply.code == 0, reply.err
    return reply.out


@pytest.fixture
def ask(capsys) -> Callable[..., Reply]:
    """Carries out a command in this process, which is quicker."""

    def carry_out(*words: str) -> Reply:
        capsys.readouterr()
        try:
            main(words)
            code = 0
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        return Reply(code, *capsys.readouterr())

    return carry_out


@pytest.fixture
def told(ask) -> Callable[..., str]:
    """What a command prints that succeeds."""

    def carry_out(*words: str) -> str:
        reply = ask(*words)
        assert reply.code == 0, reply.err
        return str(reply.out)

    return carry_out


def rounds(text: str) -> int:
    """The round that a status shows."""
    found = re.search(r"round ([\d,]+)", text)
    assert found is not None
    return int(found[1].replace(",", ""))


def wait_for(condition, seconds: float = 500.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def started(run_dir: Path, *extra: str) -> subprocess.Popen[str]:
    """A run that is going on, with a checkpoint."""
    words = ["train", *TINY, "--run-dir", str(run_dir), "--steps", "100000", *extra]
    log = open(run_dir.with_suffix(".log"), "w")  # noqa: SIM115 - the process keeps it
    process = forks.Popen(metagenrl(*words), stdout=log, stderr=log, text=True)
    wait_for(lambda: list(run_dir.glob("checkpoints/round-*")) or process.poll() is not None)
    assert process.poll() is None, run_dir.with_suffix(".log").read_text()
    return process


def everything_written(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def secured(redis_server_with_password, monkeypatch):
    """A Redis that wants a password, which the environment has."""
    server = redis_server_with_password(PASSWORD)
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    return server


def test_a_run_in_one_process_is_steered_through_redis(secured, tmp_path, ask, told):
    """From a folder or an id; through an outage of Redis; and nothing that is written tells the
    password, also where it stood in the URL."""
    run_dir = tmp_path / "run"
    process = started(run_dir, "--engine", "inprocess", "--store", secured.url)
    try:
        run = json.loads((run_dir / "run.json").read_text())["id"]
        wait_for(lambda: ask("status", str(run_dir)).code == 0)
        assert told("status", str(run_dir)).startswith("running   2/2 agents at work")
        assert "now 3 agents" in told("scale", run, "--agents", "3", "--store", secured.url)
        paused = told("pause", str(run_dir))
        assert "paused   3/3 agents at work" in told("status", str(run_dir))
        assert rounds(told("status", str(run_dir))) == rounds(paused)
        refused = ask("scale", str(run_dir), "--agents", "1")
        assert (refused.code, refused.out) == (2, "")
        assert refused.err.startswith("error: agents: got 1, allowed: at least 2")
        refused = ask("scale", str(run_dir), "--agents", "900000")
        assert (refused.code, refused.out) == (2, "")
        assert refused.err.startswith("error: agents: got 900000 (memory: ")
        assert "3/3 agents at work" in told("status", str(run_dir))
        resumed = rounds(told("resume", str(run_dir)))
        by_id = (run, "--store", secured.url)
        run_dir.rename(tmp_path / "moved")
        wait_for(lambda: told("status", *by_id).startswith("waiting   3/3 agents at work"))
        reply = ask("pause", *by_id)
        assert (reply.code, reply.out) == (1, "")
        assert "was moved, removed or unmounted" in reply.err
        (tmp_path / "moved").rename(run_dir)
        wait_for(lambda: told("status", *by_id).startswith("running"))
        wait_for(lambda: rounds(told("status", str(run_dir))) > resumed)
        secured.kill()
        size = (run_dir / "metrics.jsonl").stat().st_size
        log = run_dir / "run.log"
        wait_for(lambda: "kept in the run's folder until it is back" in log.read_text())
        wait_for(lambda: (run_dir / "metrics.jsonl").stat().st_size > size + 2000)  # trains on
        gone = ask("status", str(run_dir))
        assert (gone.code, gone.out) == (2, "")
        assert re.match(r"error: store: got .*refused", gone.err)
        secured.start()
        wait_for(lambda: ask("status", str(run_dir)).code == 0)
        assert "stopped with a checkpoint of round" in told("stop", str(run_dir))
        assert process.wait(timeout=500) == 0
    finally:
        process.kill()
    over = ask("pause", str(run_dir))
    assert over.code == 1
    assert over.err.endswith(f"to go on with it: metagenrl train --resume {run_dir}\n")
    address = StoreAddress.parse(secured.url)
    elsewhere = RedisStore(RedisLink(address, "kept"), run, tmp_path / "elsewhere")
    newest = ObjectiveSnapshot.load(find_snapshot(run_dir, "last"))
    assert elsewhere.snapshots() == snapshot_versions(run_dir)
    state = elsewhere.load()
    assert state is not None
    assert state["alpha"].tobytes() == newest.alpha.tobytes()
    assert state["adam"]["step"] == state["version"] == newest.version
    versions = [row.version for row in read_metrics(run_dir).objective]
    assert versions == list(range(1, newest.version + 1))
    assert PASSWORD.encode() not in everything_written(run_dir)
    assert PASSWORD not in run_dir.with_suffix(".log").read_text()


def test_a_copy_is_refused_while_the_run_goes_on_and_reaches_nothing(redis_server, tmp_path, ask):
    """What is asked of the copy does not come to the run; it may go on once that has ended."""
    run_dir, copy = tmp_path / "a", tmp_path / "b"
    process = started(run_dir, "--engine", "inprocess", "--store", redis_server.url)
    try:
        wait_for(lambda: ask("status", str(run_dir)).code == 0)
        shutil.copytree(run_dir, copy)
        kept = [copy / "config.yaml", copy / "run.json", copy / "metrics.jsonl"]
        before = [file.read_bytes() for file in kept]
        refused = ask_elsewhere("train", "--resume", str(copy), "--steps", "200000")
        assert refused.code == 2
        assert f" goes on in {run_dir} (process {process.pid} on " in refused.err
        assert refused.err.count("\n") == 1
        assert [file.read_bytes() for file in kept] == before
        stop = ask("stop", str(copy))
        assert (stop.code, stop.out) == (1, "")
        assert f", goes on in {run_dir} (process {process.pid} on " in stop.err
        assert ask("status", str(run_dir)).out.startswith("running   2/2 agents at work")
        assert process.poll() is None
        process.kill()  # a crash is in nobody's way
        process.wait()
        words = metagenrl("train", "--resume", str(copy))
        process = forks.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: ask("status", str(copy)).code == 0)
        assert "stopped with a checkpoint" in ask("stop", str(copy)).out
        assert process.wait(timeout=500) == 0
    finally:
        process.kill()


def test_redis_changes_no_bits(redis_server, tmp_path):
    """With a Redis that is killed and comes back, α is what it is without one."""
    plain = [*TINY, "--engine", "inprocess", "--steps", "300"]
    told_elsewhere("train", *plain, "--run-dir", str(tmp_path / "file"))
    words = metagenrl("train", *plain, "--run-dir", str(tmp_path / "redis"))
    process = forks.Popen(
        [*words, "--store", redis_server.url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: list((tmp_path / "redis").glob("checkpoints/round-*")))
        redis_server.kill()
        wait_for(lambda: len(list((tmp_path / "redis").glob("checkpoints/round-*"))) > 1)
        redis_server.start()
        assert process.wait(timeout=500) == 0
    finally:
        process.kill()
    one, two = (
        ObjectiveSnapshot.load(find_snapshot(tmp_path / name, "last")) for name in ("file", "redis")
    )
    assert one.version == two.version
    assert np.array_equal(one.alpha, two.alpha)


def test_what_cannot_be_reached_says_why(tmp_path, ask, monkeypatch):
    open_run(TrainConfig(run_dir=tmp_path / "a", engine="inprocess"))
    reply = ask("status", str(tmp_path / "a"))
    assert reply.code == 2
    assert "--engine inprocess and no Redis" in reply.err
    reply = ask("status", "0123abcd")
    assert reply.code == 2
    assert "allowed: such a folder, or a run's id with --ray-address or --store" in reply.err
    for named in ("local", "auto"):  # which are no addresses
        monkeypatch.setenv("RAY_ADDRESS", named)
        assert "(no folder of a run), allowed: such a folder" in ask("status", "0123abcd").err
    monkeypatch.setenv("RAY_ADDRESS", "garbage")
    reply = ask("status", "0123abcd")
    assert (reply.code, reply.err) == (2, "error: RAY_ADDRESS: got 'garbage', allowed: HOST:PORT\n")
    reply = ask("status", "0123abcd", "--ray-address", "ray://127.0.0.1:1")
    assert (reply.code, reply.err[:42]) == (2, "error: ray_address: got 'ray://127.0.0.1:1")
    reply = ask("status", "0123abcd", "--ray-address", "127.0.0.1:1")
    assert reply.code == 1
    assert reply.err.startswith("0123abcd: not going on (no Ray cluster at 127.0.0.1:1")


@pytest.mark.slow
def test_a_run_on_ray_is_steered_and_resumed_at_its_size(tmp_path):
    """Scaled up and down on Ray, its driver killed at once: it comes back with as many agents."""
    run_dir = tmp_path / "run"
    process = started(run_dir, "--engine", "ray", "--agent-cpus", "0.1")
    try:
        wait_for(lambda: ask_elsewhere("status", str(run_dir)).code == 0)
        assert told_elsewhere("status", str(run_dir)).startswith("running   2/2 agents at work")
        code = (
            "import time; from metagenrl.cluster.control.reach import reach; "
            "from metagenrl.runs.config.reference import RunReference; "
            f"print(reach(RunReference(run={str(run_dir)!r})).status().condition, flush=True); "
            "time.sleep(600)"
        )
        waiting = forks.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert waiting.stdout.readline() == "running\n"
        waiting.terminate()  # Ray's handler would print where its C++ code was
        assert waiting.communicate(timeout=60)[1] == ""
        fits = os.cpu_count() * 10
        refused = ask_elsewhere("scale", str(run_dir), "--agents", str(10 * fits))
        assert refused.code == 2
        assert f"agents: got {10 * fits} actors of 0.1 CPUs each, allowed: at most" in refused.err
        assert told_elsewhere("scale", str(run_dir), "--agents", "4") == "now 4 agents\n"
        assert told_elsewhere("scale", str(run_dir), "--agents", "3") == "now 3 agents\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert ask_elsewhere("status", str(run_dir)).code == 1
        process = forks.Popen(
            metagenrl("train", "--resume", str(run_dir)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: ask_elsewhere("status", str(run_dir)).code == 0)
        assert told_elsewhere("status", str(run_dir)).startswith("running   3/3 agents at work")
        assert "stopped with a checkpoint" in told_elsewhere("stop", str(run_dir))
        assert process.wait(timeout=500) == 0
    finally:
        process.kill()
    assert [path.name for path in (run_dir / "left").iterdir()] == ["agent-0003"]
    versions = [row.version for row in read_metrics(run_dir).objective]
    assert versions == list(range(1, versions[-1] + 1))


@pytest.mark.slow
def test_a_local_ray_is_not_started_for_more_agents_than_fit(tmp_path):
    words = ["train", *TINY, "--run-dir", str(tmp_path / "run"), "--agent-cpus", "1", "--agents"]
    reply = ask_elsewhere(*words, "5000")
    assert reply.code == 2
    assert "agents: got 5000 actors of 1 CPUs each, allowed: at most" in reply.err
    assert "Started a local Ray" not in reply.err  # as Ray says when it starts
    assert not (tmp_path / "run").exists()
