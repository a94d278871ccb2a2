"""A folder that a command does not take: the line says what it is, and which command takes it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import metagenrl
from metagenrl.objective_server.snapshots import find
from metagenrl.runs.config.epg import EpgTrainConfig
from metagenrl.runs.config.lone_agents import BaselineConfig, MetaTestConfig
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import to_yaml
from metagenrl.runs.names import CONFIG_FILE

Refusal = Callable[[str], str]
Run = Callable[..., int]

ENV = "Pendulum-v1"
TRAINED = TrainConfig(envs=(ENV,), engine="inprocess")
TESTED = MetaTestConfig(objective="random", env=ENV, run_dir=Path())
KINDS = {
    "trained": (TRAINED, "train"),
    "tested": (TESTED, "test"),
    "alone": (BaselineConfig(algo="td3", env=ENV, run_dir=Path()), "baseline"),
    "evolved": (EpgTrainConfig(env=ENV, run_dir=Path()), "baseline --algo epg"),
}
TAKES = {
    "train --resume {}": {"trained"},
    "top {} --once": {"trained"},
    "status {}": {"trained"},
    "pause {}": {"trained"},
    "resume {}": {"trained"},
    "stop {}": {"trained"},
    "scale {} --agents 3": {"trained"},
    "workspace {} --out w.json": {"trained"},
    "explain {} --out page": {"trained"},
    "compare {} --out page": {"tested", "alone"},
    "objective show {}": {"trained", "evolved"},
    "objective card {} --out card": {"trained", "evolved"},
    "test --resume --run-dir {}": {"tested"},
    "baseline --algo td3 --resume --run-dir {}": {"alone"},
    "test --objective {} --env Pendulum-v1 --run-dir new": {"trained", "evolved"},
    "test --objective random --env Pendulum-v1 --resume --run-dir {}": {"tested"},
    "baseline --algo td3 --env Pendulum-v1 --resume --run-dir {}": {"alone"},
    "baseline --algo epg --env Pendulum-v1 --resume --run-dir {}": {"evolved"},
}


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """A folder of runs, one of each kind."""
    for name, (config, _) in KINDS.items():
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / CONFIG_FILE).write_text(to_yaml(config))
    return tmp_path / "runs"


@pytest.mark.parametrize(
    ("line", "kind"),
    [(line, kind) for line, takes in TAKES.items() for kind in sorted(KINDS.keys() - takes)],
)
def test_the_line_says_what_the_folder_is(
    line: str, kind: str, folders: Path, refusal: Refusal
) -> None:
    message = refusal(line.format(folders / kind))
    assert f"got '{folders / kind}' (a run of `metagenrl {KINDS[kind][1]}`" in message


@pytest.mark.parametrize("kind", ["tested", "alone"])
def test_python_is_told_it_too(kind: str, folders: Path) -> None:
    message = f"objective: got '{folders / kind}' (a run of `metagenrl {KINDS[kind][1]}`"
    with pytest.raises(metagenrl.UsageError, match=re.escape(message)):
        metagenrl.load_objective(folders / kind)


@pytest.mark.parametrize(
    "line", ["train --resume {}", "top {}", "enjoy {}", "workspace {} --out w"]
)
def test_what_holds_no_run_is_told_apart(line: str, folders: Path, refusal: Refusal) -> None:
    (folders / "file").write_text("")
    listed = "alone, evolved, tested, trained"
    assert f"(no config.yaml in it, but in {listed})" in refusal(line.format(folders))
    assert "(no such folder), allowed: " in refusal(line.format(folders / "none"))
    assert "(a file), allowed: " in refusal(line.format(folders / "file"))


@pytest.mark.parametrize("command", ["test --objective random", "baseline --algo td3"])
def test_a_folder_after_the_switch_is_sent_to_its_place(command: str, refusal: Refusal) -> None:
    message = refusal(f"{command} --env Pendulum-v1 --resume runs/a")
    assert message == (
        "runs/a: unexpected argument after --resume, which is a switch; the folder is --run-dir"
    )


@pytest.fixture
def finished(folders: Path) -> Path:
    """A run that has taken all its steps."""
    run = folders / "trained"
    row = {
        "kind": "objective", "time": 1.0, "round": 5, "version": 5, "contributors": 1,
        "gradient_norm": 1.0, "update_norm": 1.0, "alpha_norm": 1.0, "cosine": None,
        "cosine_by_env": {}, "accepted": 5, "rejected": 0, "stale": 0, "duplicate": 0,
        "agent_steps": TRAINED.agents * TRAINED.steps, "agent_steps_per_s": 1.0, "applied": [],
    }  # fmt: skip
    (run / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    return run


@pytest.mark.parametrize("command", ["status", "pause", "stop"])
def test_a_finished_run_has_finished(
    command: str, finished: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command, finished) == 1
    again = f"to train longer: metagenrl train --resume {finished} --steps N"
    assert capsys.readouterr().err == f"{finished}: this run has finished; {again}\n"


def test_top_does_not_wait_for_rows_that_nobody_writes(
    folders: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("top", folders / "trained", "--interval", "0.1") == 1
    again = f"metagenrl train --resume {folders / 'trained'}"
    told = capsys.readouterr().err
    assert told.endswith(f"not going on (no process works in it); to go on with it: {again}\n")


@pytest.mark.parametrize("command", ["status", "top --once"])
def test_the_home_is_filled_in_where_a_run_is_named(
    command: str, finished: Path, run: Run, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("HOME", str(finished.parent))
    run(*command.split(), "~/trained")
    told = capsys.readouterr()
    assert "has finished" in told.err or "100%" in told.out


@pytest.fixture
def forgetful() -> Iterator[None]:
    find._note_last.cache_clear()
    yield
    find._note_last.cache_clear()


def test_that_no_best_version_is_recorded_is_said_once(
    forgetful: None, tmp_path: Path, snapshot, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (tmp_path / "objectives").mkdir()
    snapshot.save(find.snapshot_path(tmp_path, 30))
    for _ in range(2):
        assert find.find_snapshot(tmp_path) == find.snapshot_path(tmp_path, 30)
    monkeypatch.chdir(tmp_path)
    find.find_snapshot(Path())  # the same folder, written in another way
    assert caplog.text.count("no best version is recorded") == 1


def test_a_damaged_identity_and_a_link_to_nothing_are_refused(
    folders: Path, refusal: Refusal
) -> None:
    run = folders / "trained"
    for damaged in ("{", "{}", "[]", "null"):
        (run / "run.json").write_text(damaged)
        assert "(run.json damaged: " in refusal(f"train --resume {run}")
    (folders / "loop").symlink_to("loop")
    new = f"baseline --algo td3 --env {ENV} --run-dir {folders / 'loop'}"
    assert "(a link to nothing)" in refusal(new)
