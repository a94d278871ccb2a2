"""Sweeps: their points, their jobs, what is refused, and the comparison they end in."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from metagenrl.base.checks import UsageError
from metagenrl.commands.studies.sweep import check_sweep, run_sweep
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
        (BASELINE, {"search": "optuna"}, "search: got 'optuna', allowed: nothing without --on"),
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


@pytest.mark.slow
@pytest.mark.parametrize("place", ["local", "tune"])
def test_a_real_sweep(
    place: str, tmp_path: Path, run: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "local")
    monkeypatch.chdir(tmp_path)
    values = {
        "command": "baseline", "grid": {"polyak": [0.1, 0.01]}, "seeds": 1,
        "options": {"algo": "td3", "env": "InvertedPendulum-v5", "steps": 200, "eval-every": 100,
                    "eval-episodes": 1, **SMALL},
    }  # fmt: skip
    Path("sweep.yaml").write_text(yaml.safe_dump(values))
    try:
        assert run("sweep", "--file", "sweep.yaml", "--out", "out", "--on", place) == 0
    finally:
        if place == "tune":
            import ray

            ray.shutdown()
    text = Path("out/comparison.md").read_text()
    assert "polyak=0.1 " in text
    assert "polyak=0.01" in text
