"""The chaos run itself, short; and its audit, which must see what is wrong."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import chaos
import chaos_audit
import psutil
import pytest
from chaos_far_node import FarNode
from chaos_pauses import Pauses
from chaos_report import Report, write_report
from fixtures import forks

SCRIPT = Path(chaos.__file__)

TINY = (
    "--preset quickstart --hidden-units 16 --batch-size 8 --learning-starts 40 --random-steps 60 "
    "--lifetime 0 --envs Pendulum-v1 --agents 2 --wandb disabled --engine inprocess --steps 150"
)


def test_a_schedule_is_the_seeds_and_has_enough_events() -> None:
    one, same, other = (chaos.schedule(random.Random(s), 60.0, 100) for s in (1, 1, 2))
    assert one == same != other
    assert len(one) == 120
    times = [when for when, _ in one]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] <= 60
    kinds = {
        "agent", "objective server", "driver", "redis", "raylet", "node", "SIGTERM to the driver",
        "agent stopped", "objective server stopped", "driver stopped", "redis full",
    }  # fmt: skip
    assert {victim.name for _, victim in one} - {"partition"} == kinds
    assert ("partition" in {victim.name for _, victim in one}) == FarNode.possible()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never disturbed."""
    folder = tmp_path_factory.mktemp("chaos") / "run"
    argv = [*forks.METAGENRL, "train", *TINY.split(), "--run-dir", str(folder)]
    forks.run(argv, check=True, capture_output=True, timeout=240)
    return folder


@pytest.fixture
def tampered(trained: Path) -> Callable[[Callable[[list[dict]], None]], set[str]]:
    """Audits the run with its rows of the objective changed; the promises that were broken."""
    metrics = trained / "metrics.jsonl"
    original = metrics.read_text()

    def tamper(change: Callable[[list[dict]], None]) -> set[str]:
        rows = [json.loads(line) for line in original.splitlines()]
        change(rows_of := [row for row in rows if row["kind"] == "objective"])
        metrics.write_text("".join(json.dumps(row) + "\n" for row in rows_of))
        try:
            return {c.promise for c in chaos_audit.audit(trained, [], True) if not c.kept}
        finally:
            metrics.write_text(original)

    return tamper


def test_an_undisturbed_run_keeps_every_promise(tampered) -> None:
    assert tampered(lambda rows: None) == set()


def test_a_gradient_applied_twice_is_seen(tampered) -> None:
    def twice(rows: list[dict]) -> None:
        rows[5]["applied"] = rows[4]["applied"]

    assert "each gradient's identity is applied once" in tampered(twice)
    assert "no gradient is older than the bound (0) allows" in tampered(twice)


def test_a_lost_version_is_seen(tampered) -> None:
    broken = tampered(lambda rows: rows.pop(3))
    assert "versions are 1, 2, 3 ... without gap or repeat" in broken
    assert "Adam's step = version = accepted rounds" in broken
    assert "history and server agree on each agent's gradients" in broken


def test_broken_promises_on_the_way_are_reported(trained: Path) -> None:
    checks = chaos_audit.audit(trained, ["checkpoint 40 was lost, 20 is there"], False)
    assert [c.kept for c in checks[:2]] == [False, False]
    assert checks[1].found == "checkpoint 40 was lost, 20 is there"


@pytest.mark.parametrize(
    ("events", "kept", "passed"),
    [(3, True, True), (2, True, False), (3, False, False)],
)
def test_a_report_passes_with_enough_events_and_all_kept(tmp_path, events, kept, passed) -> None:
    checks = [chaos_audit.Check("a promise", kept, "found")]
    report = Report(0, 1.0, {"agent": events}, 3, 1, {"versions": 7}, checks)
    text = write_report(tmp_path / "chaos", report)
    assert json.loads((tmp_path / "chaos.json").read_text())["passed"] is passed
    assert ("FAILED" in text) is not passed
    assert (tmp_path / "chaos.md").read_text() == text


def test_a_victim_that_is_not_there_is_waited_for() -> None:
    absent = SimpleNamespace(actors=lambda name: [], driver=list)
    for victim in chaos.VICTIMS[:3]:
        assert victim.kill(absent, random.Random(0)) is False


def test_who_is_stopped_goes_on_after_its_time() -> None:
    pauses, sleeper = Pauses(), subprocess.Popen(["sleep", "60"])
    try:
        assert pauses.stop(sleeper.pid, 60.0)
        assert not pauses.stop(sleeper.pid, 60.0), "it stands still already"
        os.waitid(os.P_PID, sleeper.pid, os.WSTOPPED | os.WNOWAIT)
        pauses.attend()
        assert psutil.Process(sleeper.pid).status() == psutil.STATUS_STOPPED
        pauses.end()
        os.waitid(os.P_PID, sleeper.pid, os.WCONTINUED | os.WNOWAIT)
    finally:
        sleeper.kill()
        sleeper.wait()
    assert not pauses.stop(sleeper.pid, 60.0)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_chaos_for_a_minute(tmp_path) -> None:
    argv = ["--minutes", "1", "--events", "12", "--seed", "0", "--out", str(tmp_path / "chaos")]
    done = subprocess.run([sys.executable, str(SCRIPT), *argv], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "chaos.json").read_text())
    assert sum(report["events"].values()) >= 12
    assert min(report["events"].values()) >= 1, "a kind was spared"
    assert report["passed"]
