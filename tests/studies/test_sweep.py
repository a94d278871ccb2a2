"""Sweeps: their points, their jobs, what is refused, and the comparison they end in."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fixtures.forks import METAGENRL
from fixtures.processes import kill_group
from fixtures.ray_heads import RayHead

from metagenrl.base.checks import UsageError
from metagenrl.commands.studies.experiment import experiment_config
from metagenrl.commands.studies.sweep import check_sweep, run_sweep, sweep_config
from metagenrl.runs.row_codec import to_line
from metagenrl.runs.rows import EvaluationRow
from metagenrl.studies.options import SweepConfig
from metagenrl.studies.plan import plan
from metagenrl.studies.points import agent_jobs, name_of, points_of, recipe_of
from metagenrl.studies.sweep import read_sweep

SMALL = {
    "preset": "quickstart", "hidden-units": 8, "batch-size": 2, "random-steps": 50,
    "learning-starts": 50, "replay-capacity": 500, "segment-length": 10,
}  # fmt: skip
BASELINE = {
    "command": "baseline",
    "options": {"algo": "td3", "env": "Pendulum-v1", "steps": 500, **SMALL},
    "grid": {"batch-size": [2, 4], "polyak": [0.1, 0.01]},
    "seeds": 2,
}
TRAIN = {
    "command": "train",
    "options": {"envs": ["Pendulum-v1"], "agents": 2, "steps": 500},
    "random": {"points": 3, "options": {"learning-rate": {"low": 1e-4, "high": 1e-2, "log": True}}},
    "seeds": 2,
    "test": {"envs": ["Reacher-v5"]},
}


def written(folder: Path, base: dict, **changes: object) -> Path:
    path = folder / "sweep.yaml"
    values = {name: value for name, value in {**base, **changes}.items() if value is not None}
    if base is BASELINE and "options" not in changes:
        values["options"] = {k: v for k, v in values["options"].items() if k != "batch-size"}
    path.write_text(yaml.safe_dump(values))
    return path


def test_a_grid_is_every_combination(tmp_path: Path) -> None:
    sweep = read_sweep(written(tmp_path, BASELINE))
    points = points_of(sweep)
    assert [name_of(point) for point in points] == [
        "batch-size=2, polyak=0.1", "batch-size=2, polyak=0.01",
        "batch-size=4, polyak=0.1", "batch-size=4, polyak=0.01",
    ]  # fmt: skip
    jobs = agent_jobs(sweep, points, tmp_path)
    assert len(jobs) == 8
    assert jobs[-1].words[-8:] == (
        "--batch-size", "4", "--polyak", "0.01", "--seeds", "1", "--first-seed", "1"
    )  # fmt: skip


def test_drawn_points_stay_the_same_and_in_range(tmp_path: Path) -> None:
    ranges = {
        "polyak": {"low": 1e-3, "high": 1e-1, "log": True},
        "hidden-units": {"low": 8, "high": 9, "whole": True},
        "batch-size": [2, 4],
    }
    options = {"algo": "td3", "env": "Pendulum-v1"}
    random = {"points": 40, "options": ranges}
    path = written(tmp_path, BASELINE, grid=None, options=options, random=random)
    points = points_of(read_sweep(path))
    assert points == points_of(read_sweep(path))
    assert len(points) == 40
    assert {point["hidden-units"] for point in points} == {8, 9}
    assert {point["batch-size"] for point in points} == {2, 4}
    assert all(1e-3 <= point["polyak"] <= 1e-1 for point in points)
    assert 10 < sum(point["polyak"] < 1e-2 for point in points) < 30  # even in the logarithm


def test_points_without_end_are_refused(tmp_path: Path) -> None:
    random = {"points": 10**9, "options": {"batch-size": [2, 4]}}
    path = written(tmp_path, BASELINE, grid=None, random=random)
    with pytest.raises(ValueError, match=r"^random.points: got 1000000000, allowed: at most"):
        read_sweep(path)


def test_a_sweep_over_train_is_a_study_on_selection_environments(tmp_path: Path) -> None:
    sweep = read_sweep(written(tmp_path, TRAIN))
    whole = plan(recipe_of(sweep, points_of(sweep), "s"), tmp_path)
    assert {condition.set for condition in whole.conditions} == {"selection"}
    assert len([job for job in whole.jobs if job.words[0] == "train"]) == 6
    assert {c.rule for c in whole.conditions if not c.variant} == {"random objective", "td3"}


@pytest.mark.parametrize(
    ("base", "changes", "message"),
    [
        (BASELINE, {"grid": None}, "grid: got"),
        (BASELINE, {"grid": {"polyak": [0.1, 0.1]}}, r"polyak: got \[0.1, 0.1\], allowed: each"),
        (BASELINE, {"grid": {"polyak": 1}}, "grid.polyak: got 1, allowed: a list"),
        (BASELINE, {"grid": {"env": ["Pendulum-v1"]}}, "grid.env: got 'env', allowed: an option"),
        (BASELINE, {"grid": {"polyk": [1]}}, "sweep: got .*--polyk: unknown option"),
        (BASELINE, {"grid": {"batch-size": [0]}}, "sweep: got .*batch_size: got 0"),
        (BASELINE, {"command": "explain"}, "command: got 'explain', allowed: train, baseline"),
        (BASELINE, {"seeds": 0}, "seeds: got 0"),
        (BASELINE, {"first_seed": 2**32 - 1}, "first_seed: got 4294967295, allowed: a whole"),
        (BASELINE, {"test": {"envs": ["A"]}}, "test: got 'a section beside the"),
        (BASELINE, {"search": "optuna"}, "search: got 'optuna', allowed: nothing without random"),
        (BASELINE, {"search": "optuna", "random": {"options": {"gamma": [1]}}},
         "grid: got .* allowed: nothing beside search: optuna"),
        (TRAIN, {"search": "optuna"}, "search: got 'optuna', allowed: nothing without --on tune"),
        (BASELINE, {"random": {"options": {"gamma": 1}}}, "random.options.gamma: got 1"),
        (BASELINE, {"random": {"options": {"gamma": {"low": 2, "high": 1}}}},
         "random.options.gamma.low: got 2"),
        (BASELINE, {"random": {"options": {"gamma": {"low": 0, "high": 1, "log": True}}}}, "low"),
        (BASELINE, {"random": {"options": {}}}, "random.options: got {}, allowed: options to draw"),
        (BASELINE, {"random": {"options": {"env": ["A"]}}}, "random.options.env: got 'env', allow"),
        (BASELINE, {"random": {"options": {"polyak": [1]}}}, "random.options.polyak: got 'polyak'"),
        (BASELINE, {"grid": {"batch-size": [2, 0]}}, "sweep: got .*batch_size: got 0"),
        (BASELINE, {"grid": {"batch_size": [2], "batch-size": [4]}}, "got --batch-size twice in"),
        (BASELINE, {"grid": {"agent.gamma": [0.9], "gamma": [0.9]}}, "--agent.gamma and --gamma, "),
        (BASELINE, {"grid": {"seeds": [1, 2]}}, "sweep: got --seeds twice in 'metagenrl baseline"),
        (BASELINE, {"grid": {"run-dir": ["x"]}}, "sweep: got --run-dir twice in"),
        (BASELINE, {"grid": {"resume": [True]}}, "sweep: got --resume twice in"),
        (BASELINE, {"grid": {"label": ["a b", "a_b"]}}, "'label=a b' and 'label=a_b' .both are"),
        (BASELINE, {"command": "test", "options": {"objective": "nowhere", "env": "Pendulum-v1"}},
         "objective: got 'nowhere' .nowhere: no objective"),
        (BASELINE, {"random": 3}, "random: got 3, allowed: a mapping of fields"),
        (BASELINE, {"grid": {1: [2]}}, "sweep: got key 1 in grid, allowed: text, in quotes"),
        (TRAIN, {"test": None}, "test: got None, allowed: environments for train"),
        (TRAIN, {"test": {"envs": ["Pendulum-v1"]}}, "environments: got Pendulum-v1 in both"),
        (TRAIN, {"test": {"envs": ["Pendulum"]}}, "environments: got Pendulum in both selection"),
        (TRAIN, {"options": {}}, "options.envs: got None"),
    ],
)  # fmt: skip
def test_mistakes_are_refused(base: dict, changes: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        check_sweep(SweepConfig(file=written(tmp_path, base, **changes), out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_jobs_too_short_to_learn_are_told_before_they_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grid = {"polyak": [0.1, 0.01]}
    base = {**BASELINE, "grid": grid, "options": {**BASELINE["options"], "steps": 20}}
    path = written(tmp_path, base)
    check_sweep(SweepConfig(file=path, out=tmp_path / "out"))
    (told,) = caplog.messages
    assert told.startswith("polyak=0.1 and 1 more: steps: 20 are too few, learning begins")
    caplog.clear()
    (tmp_path / "out").mkdir()
    check_sweep(SweepConfig(file=path, out=tmp_path / "out", report_only=True))
    assert not caplog.messages


def test_it_ends_in_a_comparison_of_points(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = written(tmp_path, BASELINE), tmp_path / "out"
    check_sweep(SweepConfig(file=path, out=out))
    sweep = read_sweep(path)
    for value, job in enumerate(agent_jobs(sweep, points_of(sweep), out)):
        rows = [  # each point has the seeds 0 and 1
            EvaluationRow("td3", "Pendulum-v1", value % 2, step, float(value), ())
            for step in (0, 500)
        ]
        job.folder.mkdir(parents=True)
        (job.folder / "evaluations.jsonl").write_text("".join(map(to_line, rows)))
        settings = {"env": "Pendulum-v1", "steps": 500}
        (job.folder / "config.yaml").write_text(yaml.safe_dump(settings))
    assert run_sweep(SweepConfig(file=path, out=out, report_only=True)) == 0
    text = (out / "comparison.md").read_text()
    assert text in capsys.readouterr().out
    row = next(line for line in text.splitlines() if "batch-size=4, polyak=0.01" in line)
    assert "6.5 (" in row  # the mean of 6 and 7
    assert (out / "comparison.png").is_file()


def test_shares_are_refused_where_they_are_none(tmp_path: Path) -> None:
    for share in ("2/2", "x", "1"):
        with pytest.raises(UsageError, match=f"share: got '{share}', allowed: K/N"):
            SweepConfig(file=tmp_path, out=tmp_path, share=share)


@pytest.mark.parametrize("read", [sweep_config, experiment_config])
def test_only_rays_nodes_are_told_of_an_absolute_folder(
    read: Callable[[list[str]], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--file" if read is sweep_config else "--recipe", "x.yaml", "--out", "out"]
    assert read(words).out == Path("out")
    assert read([*words, "--on", "ray"]).out == tmp_path / "out"


SEARCH = {
    **BASELINE, "grid": None, "seeds": 1, "search": "optuna",
    "random": {"points": 3, "options": {"polyak": {"low": 0.01, "high": 0.1}}},
}  # fmt: skip


def searched(folder: Path, polyak: float) -> Path:
    """The folder of a search that has one point, which is done."""
    out = folder / "out"
    out.mkdir()
    options = SEARCH["random"]["options"]
    points = [{"point": {"polyak": polyak}, "score": 1.0}]
    (out / "points.json").write_text(json.dumps({"options": options, "points": points}))
    (job,) = agent_jobs(read_sweep(written(folder, SEARCH)), [{"polyak": polyak}], out)
    rows = [EvaluationRow("td3", "Pendulum-v1", 0, step, 1.0, ()) for step in (0, 500)]
    job.folder.mkdir(parents=True)
    (job.folder / "evaluations.jsonl").write_text("".join(map(to_line, rows)))
    (job.folder / "config.yaml").write_text(yaml.safe_dump({"env": "Pendulum-v1", "steps": 500}))
    job.finish()
    return out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": {**BASELINE["options"], "steps": 600}}, "out: got .*polyak=0.04321/seed-0"),
        ({"random": {"options": {"polyak": [0.01]}}}, "random.options: got .*was searched with"),
    ],
)
def test_a_search_that_changed_is_refused(changes: dict, message: str, tmp_path: Path) -> None:
    out = searched(tmp_path, 0.04321)
    config = SweepConfig(file=tmp_path / "sweep.yaml", out=out, on="tune", show=True)
    check_sweep(config)
    written(tmp_path, SEARCH, **changes)
    with pytest.raises(UsageError, match=message):
        check_sweep(config)


def test_what_a_search_cannot_have_is_refused_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = written(tmp_path, SEARCH), tmp_path / "out"
    with pytest.raises(UsageError, match="share: got '0/2', allowed: nothing with search"):
        check_sweep(SweepConfig(file=path, out=out, on="tune", share="0/2"))
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError, match=r"search: got 'optuna' .not installed., allowed: after"):
        check_sweep(SweepConfig(file=path, out=out, on="tune"))
    assert not out.exists()


def test_jobs_and_table_of_a_search_are_those_of_its_points(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = searched(tmp_path, 0.04321)
    file = tmp_path / "sweep.yaml"
    assert run_sweep(SweepConfig(file=file, out=out, on="tune", show=True)) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("done: metagenrl baseline ")
    assert "--polyak 0.04321 " in first
    assert last == "to do: 2 points that optuna chooses"
    assert run_sweep(SweepConfig(file=file, out=out, on="tune", report_only=True)) == 0
    rows = (out / "comparison.md").read_text().splitlines()
    assert [row for row in rows if "polyak=" in row] == [row for row in rows if "=0.04321" in row]
    (out / "points.json").unlink()
    assert run_sweep(SweepConfig(file=file, out=out, on="tune", report_only=True)) == 1


def test_a_search_over_train_shows_what_all_its_points_need(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, TRAIN, search="optuna")
    assert run_sweep(SweepConfig(file=path, out=tmp_path / "out", on="tune", show=True)) == 0
    *jobs, last = capsys.readouterr().out.splitlines()
    assert [job.split()[3] for job in jobs] == ["test", "baseline"]
    assert last == "to do: 3 points that optuna chooses"
    config = SweepConfig(file=path, out=tmp_path / "out", on="tune", report_only=True)
    assert run_sweep(config) == 1


REAL = {
    "command": "baseline", "grid": {"polyak": [0.1, 0.01]}, "seeds": 1,
    "options": {"algo": "td3", "env": "InvertedPendulum-v5", "steps": 200, "eval-every": 100,
                "eval-episodes": 1, **SMALL},
}  # fmt: skip


@pytest.fixture(scope="module")
def head(new_ray_head: Callable[[], RayHead]) -> RayHead:
    """A Ray that was started in another folder than sweeps are."""
    return new_ray_head().start("--num-cpus=2")


@pytest.fixture
def sweep_on(
    head: RayHead, tmp_path: Path
) -> Iterator[Callable[[str, dict[str, Any]], "subprocess.Popen[str]"]]:
    """Starts a sweep in the test's folder, into `out` there; `search` is one with `--on tune`."""
    started: list[subprocess.Popen[str]] = []

    def begin(place: str, values: dict[str, Any]) -> "subprocess.Popen[str]":
        if place == "search":
            pytest.importorskip("optuna")
            place, points = "tune", {"points": 2, "options": values["grid"]}
            values = {**values, "grid": {}, "random": points, "search": "optuna"}
        (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(values))
        process = subprocess.Popen(
            [*METAGENRL, "sweep", "--file", "sweep.yaml", "--out", "out", "--on", place],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=head.environment | {"RAY_ADDRESS": head.address},
            start_new_session=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        kill_group(process.pid)
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("place", ["local", "tune", "search"])
def test_a_real_sweep(
    place: str, tmp_path: Path, sweep_on: Callable[..., "subprocess.Popen[str]"]
) -> None:
    out, errors = (sweep := sweep_on(place, REAL)).communicate()
    assert sweep.returncode == 0, out + errors
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert "polyak=0.1 " in text
    assert "polyak=0.01" in text
    assert out.count(": exit 0 after ") == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "signum"),
    [
        ("local", signal.SIGTERM),
        ("ray", signal.SIGINT),
        ("search", signal.SIGINT),
        ("search", signal.SIGTERM),
    ],
)
def test_a_sweep_that_is_ended_saves_and_goes_on(
    place: str,
    signum: int,
    tmp_path: Path,
    sweep_on: Callable[..., "subprocess.Popen[str]"],
) -> None:
    options = {**REAL["options"], "steps": 1_000_000}
    sweep = sweep_on(place, {**REAL, "options": options, "grid": {"polyak": [0.1]}})
    log = tmp_path / "out/runs/polyak=0.1/seed-0.log"
    deadline = time.monotonic() + 200
    while not log.exists() or "\nstep " not in log.read_text():
        assert sweep.poll() is None, sweep.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(sweep.pid, signum)
    out, errors = sweep.communicate()
    assert sweep.returncode == 128 + signum, out + errors
    assert errors.splitlines()[-2:] == [
        "its jobs have ended; the same command goes on with those that are not done",
        f"ended by {signal.Signals(signum).name}",
    ]
    assert "Traceback" not in errors
    assert ": exit" not in out
    assert "polyak=0.1/seed-0: ended, it goes on with the same command" in out
    assert "ended by SIGTERM, go on with: metagenrl baseline" in log.read_text()
