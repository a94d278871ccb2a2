"""Files of a run that hold something else than was written: one line that names the file."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fixtures.rows import AGENT, EVENT, OBJECTIVE

from metagenrl.api.runs import read_run
from metagenrl.commands.main import main
from metagenrl.runs.config.lone_agents import BaselineConfig
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import to_yaml
from metagenrl.runs.row_codec import to_line
from metagenrl.runs.rows import EvaluationRow

Refusal = Callable[[str], str]
StoreRun = Callable[[TrainConfig], Path]


DAMAGE = {
    "null": b"null",
    "a list": b"[]",
    "a number": b"5",
    "text": b'"text"',
    "nothing": b"",
    "cut": b'{"id":',
    "not UTF-8": b"\xff\xfe\x00",
    "deep": b"[" * 100_000,
    "no fields": b"{}",
    "wrong types": b'{"id": null, "created": "x", "versions": 5, "ray_address": 5}',
}


@pytest.fixture
def run(stored_run: StoreRun) -> Path:
    return stored_run(TrainConfig(envs=("Pendulum-v1",)))


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    "line", ["status {}", "pause {}", "stop {}", "train --resume {}", "workspace {} --out w.json"]
)
def test_a_damaged_identity_is_one_line(
    line: str, damage: str, run: Path, refusal: Refusal
) -> None:
    (run / "run.json").write_bytes(DAMAGE[damage])
    message = refusal(line.format(run))
    assert f"got '{run}' (run.json damaged: " in message
    assert message.endswith("allowed: a complete folder of a run")


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_whereabouts_are_one_line(damage: str, run: Path, refusal: Refusal) -> None:
    (run / "control.json").write_bytes(DAMAGE[damage])
    message = refusal(f"status {run}")
    assert message.startswith(f"run: got '{run}' (control.json damaged: ")


@pytest.mark.parametrize("damage", [name for name in DAMAGE if name != "no fields"])
@pytest.mark.parametrize(
    "line", ["status {}", "top {}", "train --resume {}", "report {}", "workspace {} --out w.json"]
)
def test_a_damaged_configuration_is_one_line(
    line: str, damage: str, run: Path, refusal: Refusal
) -> None:
    (run / "config.yaml").write_bytes(DAMAGE[damage])
    refused = refusal(line.format(run))
    assert ": got '" in refused
    assert str(run) in refused


@pytest.mark.parametrize("what", ["a folder", "a link in a circle"])
@pytest.mark.parametrize("line", ["status {}", "top {} --once", "report {}"])
def test_rows_that_are_no_file_are_one_line(
    line: str, what: str, run: Path, refusal: Refusal
) -> None:
    rows = run / "metrics.jsonl"
    rows.mkdir() if what == "a folder" else rows.symlink_to(rows.name)
    if what == "a folder":
        assert f"({rows}: is a directory)" in refusal(line.format(run))


@pytest.fixture
def tested(tmp_path: Path) -> Path:
    """A baseline with one evaluation."""
    folder = tmp_path / "alone"
    (folder / "seeds").mkdir(parents=True)
    config = BaselineConfig(algo="td3", env="Pendulum-v1", run_dir=folder, steps=300_000)
    (folder / "config.yaml").write_text(to_yaml(config))
    (folder / "objective.json").write_text('{"label": "td3", "rule": "td3"}')
    row = EvaluationRow("td3", "Pendulum-v1", 0, 300_000, 1.0, (1.0,))
    (folder / "evaluations.jsonl").write_text(to_line(row))
    return folder


FAR = (10**400, 1e999, "\ud800")
WRONG_VALUES = ("many", True, [1], {"E": "x"}, *FAR)


def damaged(line: str) -> list[str]:
    """The line with each of its values exchanged for each of a wrong type."""
    values = json.loads(line)
    pairs = itertools.product(values, WRONG_VALUES)
    wrong = [(n, w) for n, w in pairs if type(w) is not type(values[n]) or w in FAR]
    return [json.dumps(values | {n: w}) + "\n" for n, w in wrong]


def outcome(line: str) -> object:
    """The exit code of a command line."""
    try:
        main(line.split())
    except SystemExit as error:
        return error.code
    return 0


@pytest.mark.parametrize(
    "line",
    [
        "status {run}", "top {run} --once", "report {run} {tested} --out page",
        "compare {tested} --out page",
    ],
)  # fmt: skip
def test_rows_with_values_of_another_type_are_left_out(
    line: str, run: Path, tested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    evaluation = EvaluationRow("td3", "E", 0, 300_000, 1.0, (1.0,))
    files = {
        run / "metrics.jsonl": [AGENT, OBJECTIVE, EVENT],
        tested / "evaluations.jsonl": [evaluation],
    }
    outcomes = []
    for spoilt in (False, True):
        for file, rows in files.items():
            wrong = [part for row in rows for part in damaged(to_line(row)) if spoilt]
            file.write_text("".join([*map(to_line, rows), *wrong]))
        code = outcome(line.format(run=run, tested=tested))
        outcomes.append((code, capsys.readouterr().out))
    assert outcomes[0] == outcomes[1]
    assert [row["kind"] for row in read_run(run).rows] == ["agent", "objective", "event"]


@pytest.mark.parametrize("line", ["compare {} --out page", "report {} --out page"])
@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.yaml", b"env: Pendulum-v1\n"),
        ("config.yaml", b"env: 5\nsteps: many\n"),
        ("config.yaml", b"seeds: 2\nsteps: 300\n"),
        ("config.yaml", b"env: E-v0\nsteps: 300\neval_episodes: many\n"),
        ("config.yaml", b"env: E-v0\nsteps: 300\nagent: {learning_starts: soon}\n"),
        ("objective.json", b"null"),
        ("objective.json", b'{"version": "last"}'),
        ("objective.json", b'{"environments": 5}'),
        ("objective.json", DAMAGE["deep"]),
        ("objective.json", DAMAGE["not UTF-8"]),
    ],
)
def test_damaged_files_of_a_test_are_one_line(
    line: str, file: str, content: bytes, tested: Path, refusal: Refusal
) -> None:
    (tested / file).write_bytes(content)
    message = refusal(line.format(tested))
    assert message.startswith(f"runs: got '{tested}' ({tested / file}: ")


def test_a_circle_of_links_is_passed_over(tested: Path, refusal: Refusal) -> None:
    (tested.parent / "loop").symlink_to("loop")
    (tested / "config.yaml").unlink()
    refused = refusal(f"report {tested.parent}")
    assert refused.startswith(f"runs: got '{tested.parent}' (holds no run), allowed: folders of")
    refused = refusal(f"report {tested.parent / 'loop'}")
    assert refused.startswith(f"runs: got '{tested.parent / 'loop'}' (")


def test_notes_are_dropped_where_the_command_is_refused(run: Path, refusal: Refusal) -> None:
    """That no best version is recorded concerns nobody whose command does not begin."""
    assert refusal(f"explain {run} --out {run / 'config.yaml'} --env Pendulum-v1").startswith(
        "out: "
    )
    refused = refusal(f"objective card {run} --out {run / 'config.yaml'}")
    assert refused.startswith(f"out: got '{run / 'config.yaml'}' (a file), allowed: a folder that")


OUTS = {
    "file": ["export {run} --out {out}", "record {run} --out {out}", "workspace {run} --out {out}"],
    "folder": [
        "report {run} --out {out}", "explain {run} --env Pendulum-v1 --out {out}",
        "objective card {run} --out {out}", "compare {tested} --out {out}",
        "train --envs Pendulum-v1 --run-dir {out}",
        "baseline --algo td3 --env Pendulum-v1 --run-dir {out}",
        "test --objective random --env Pendulum-v1 --run-dir {out}",
        "baseline --algo epg --env Pendulum-v1 --run-dir {out}",
        "sweep --file {sweep} --out {out}",
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "line"), [(kind, line) for kind, lines in OUTS.items() for line in lines]
)
def test_a_place_that_cannot_be_written_is_refused(
    kind: str, line: str, run: Path, tested: Path, tmp_path: Path, refusal: Refusal
) -> None:
    (tmp_path / "folder.gif").mkdir()
    (tmp_path / "file.gif").write_text("")
    (tmp_path / "loop.gif").symlink_to("loop.gif")
    (tmp_path / "sweep.yaml").write_text(
        "command: baseline\noptions: {algo: td3, env: Pendulum-v1}\nseeds: 1\n"
        "grid: {gamma: [0.9, 0.99]}\n"
    )
    bad = [
        "/proc/x.gif",
        "/proc/none/x.gif",
        tmp_path / "loop.gif",
        tmp_path / "file.gif" / "x.gif",
    ]
    if kind == "file":
        bad += [tmp_path / "folder.gif", tmp_path / "none" / "x.gif", "/dev/full"]
    else:
        bad += [tmp_path / "file.gif", "/dev/full"]
    if line.startswith("record"):
        bad.remove("/dev/full")  # which is no film by its name
    for out in bad:
        message = refusal(
            line.format(run=run, tested=tested, out=out, sweep=tmp_path / "sweep.yaml")
        )
        field = "run_dir" if "--run-dir" in line else "out"
        assert message.startswith(f"{field}: got '{out}' ("), message
        assert message.endswith("can be written to")
