"""A study from its runs to its table: made-up evaluations with known numbers, and one real one."""

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from metagenrl.commands.studies.experiment import run_experiment
from metagenrl.runs.row_codec import to_line
from metagenrl.runs.rows import EvaluationRow
from metagenrl.studies.options import ExperimentConfig
from metagenrl.studies.plan import Condition, plan
from metagenrl.studies.read_recipe import read_recipe
from metagenrl.studies.report import _why, by_seed
from metagenrl.studies.results import best_variants, overall, read_results

ENVS = {"meta_training": ["Pendulum-v1"], "selection": ["Sel-v0"], "test": ["X-v0", "Y-v0"]}
FLAT = {"random": [0.0, 0.0], "td3": [10.0, 10.0]}


def evaluated(folder: Path, env: str, values: Sequence[float]) -> None:
    """Agents whose curve rises from 0 at the start to a level that it keeps from step 1 on."""
    rows = [
        EvaluationRow("label", env, seed, steps, 0.0 if steps == 0 else value, ())
        for seed, value in enumerate(values)
        for steps in (0, 1, 1000)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evaluations.jsonl").write_text("".join(map(to_line, rows)))
    (folder / ".done").touch()


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., ExperimentConfig]:
    """A study of two variants and two seeds whose agents all have made-up evaluations."""

    def make(levels: dict[str, list[list[float]]], **changes: object) -> ExperimentConfig:
        values = {
            "title": "T", "environments": ENVS, "variants": dict.fromkeys(levels),
            "scales": {"small": {"meta_seeds": 2, "agents": 2}}, **changes,
        }  # fmt: skip
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(values))
        out = tmp_path / "out"
        recipe = read_recipe(path, "small")
        for condition in plan(recipe, out, list(levels)).conditions:
            for seed, folder in enumerate(condition.folders):
                known = FLAT.get(folder.name)
                evaluated(folder, condition.env, known or levels[condition.variant][seed])
        for name in levels:
            for seed in range(2):
                (out / "train" / name / f"seed-{seed}").mkdir(parents=True)
                (out / "train" / name / f"seed-{seed}" / ".done").touch()
        return ExperimentConfig(recipe=path, out=out, report_only=True)

    return make


def conditions(config: ExperimentConfig) -> tuple[Condition, ...]:
    return plan(read_recipe(config.recipe, "small"), config.out, ["good", "bad"]).conditions


LEVELS = {"good": [[12.0, 12.0], [8.0, 8.0]], "bad": [[-1.0, -1.0], [1.0, 1.0]]}


def test_scores_are_of_seeds(study: Callable[..., ExperimentConfig]) -> None:
    results = read_results(conditions(study(LEVELS)))
    good = overall(results, "good", "test")
    assert good is not None
    late = good.aggregates["late"]
    # Seeds at 1.2 and 0.8 in both environments: the interval is theirs, though agents are eight.
    assert (late.iqm.value, late.iqm.low, late.iqm.high) == pytest.approx((1.0, 0.8, 1.2))
    assert late.optimality_gap.value == pytest.approx(0.1)
    assert late.worst_over_best == pytest.approx(0.8 / 1.2)
    assert late.environments == ("X-v0", "Y-v0")
    rule = overall(results, "td3", "test")
    assert rule is not None
    assert rule.aggregates["late"].iqm.value == pytest.approx(1.0)
    assert overall(results, "td3", "meta-training") is None


def test_the_seeds_stand_one_by_one(study: Callable[..., ExperimentConfig]) -> None:
    _, _, table = by_seed(read_results(conditions(study(LEVELS))))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    assert [
        "X-v0",
        "good",
        "12, 8",
        "51 %",
        "-",
    ] in rows  # two of four assignments of two agents each
    assert {row[1] for row in rows} == {"good", "bad"}  # a hand-made rule has no seeds


def test_a_missing_seed_is_told_and_left_out(study: Callable[..., ExperimentConfig]) -> None:
    config = study(LEVELS)
    (config.out / "tests" / "Y-v0" / "good" / "seed-1" / "evaluations.jsonl").unlink()
    good = overall(read_results(conditions(config)), "good", "test")
    assert good is not None
    assert good.note == "good: 1 of 2 seeds are there in every environment."
    assert good.aggregates["late"].iqm.value == pytest.approx(1.2)


def test_the_selection_keeps_the_best_of_each_group(study: Callable[..., ExperimentConfig]) -> None:
    results = read_results(conditions(study(LEVELS)))
    assert best_variants(results, {"bad": "", "good": ""}, 1) == ["good"]
    assert best_variants(results, {"bad": "g", "good": ""}, 1) == ["bad", "good"]


def test_the_report_has_table_numbers_and_picture(
    study: Callable[..., ExperimentConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    config = study(LEVELS, keep=1)
    assert run_experiment(config) == 0
    out = capsys.readouterr().out
    assert "kept by the selection environments: good" in out
    text = (config.out / "report.md").read_text()
    assert text in out
    assert "environments: meta-training: Pendulum-v1; selection: Sel-v0; test: X-v0, Y-v0" in text
    assert "| good             | X-v0, Y-v0   | 1.00 (0.80 … 1.20)" in text
    test = text.split("## Over the selection")[0].splitlines()
    lines = [line for line in test if line.startswith("- good against ")]
    assert [line.split(": whole curve ")[0] for line in lines] == [
        "- good against random objective", "- good against td3"
    ]  # fmt: skip
    above = r"whole curve above, difference \S+ \(\S+ … \S+\); last third above"
    assert re.search(above, lines[0])
    assert "whole curve not apart, difference" in lines[1]
    row = next(line for line in text.splitlines() if line.startswith("| X-v0 ") and "good" in line)
    assert [cell.strip() for cell in row.split("|")[2:4]] == ["test", "good"]
    with open(config.out / "report.csv") as file:
        rows = list(csv.DictReader(file))
    (iqm,) = [
        r for r in rows
        if (r["set"], r["rule"], r["number"], r["statistic"]) == ("test", "good", "late", "IQM")
    ]  # fmt: skip
    assert (float(iqm["value"]), iqm["seeds"]) == (pytest.approx(1.0), "2")
    assert (config.out / "report.png").read_bytes()[1:4] == b"PNG"
    again = replace(config, curves=config.out / "report_curves.csv", out=config.out / "again")
    assert run_experiment(again) == 0
    assert (again.out / "report.csv").read_text() == (config.out / "report.csv").read_text()
    assert "- machine: " not in (again.out / "report.md").read_text()


def test_a_report_of_nothing_is_a_failure(study: Callable[..., ExperimentConfig]) -> None:
    config = study(LEVELS)
    for file in config.out.rglob("evaluations.jsonl"):
        file.unlink()
    before = set(config.out.iterdir())
    assert run_experiment(config) == 1
    assert set(config.out.iterdir()) == before  # no lock either: nothing is run


@pytest.mark.slow
def test_a_real_study_runs_and_is_not_run_again(
    tmp_path: Path, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    small = {
        "preset": "quickstart", "hidden-units": 8, "batch-size": 2, "random-steps": 50,
        "learning-starts": 50, "replay-capacity": 500, "segment-length": 10,
    }  # fmt: skip
    scale = {
        "meta_seeds": 1, "agents": 1, "rule_agents": 1, "steps": 200, "eval_every": 100,
        "eval_episodes": 1, "train": {"agents": 2, "steps": 200, "lifetime": 100},
    }  # fmt: skip
    sets = {"meta_training": ["Pendulum-v1"], "test": ["InvertedPendulum-v5"]}
    values = {"title": "T", "environments": sets, "train": small, "test": small,
              "variants": {"a": {"stages": [0.5]}}, "scales": {"small": scale}}  # fmt: skip
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(values))
    words = ["experiment", "--recipe", path, "--out", tmp_path / "out"]
    assert run(*words) == 0
    assert "4 of 4 jobs to do" in capsys.readouterr().out
    assert run(*words) == 0
    assert "0 of 4 jobs to do" in capsys.readouterr().out
    assert "a at 50%" in (tmp_path / "out" / "report.md").read_text()


def test_where_there_are_no_scores_the_report_says_why() -> None:
    def of(*rules: str) -> list[Any]:
        return [SimpleNamespace(condition=SimpleNamespace(env="E-v0", rule=rule)) for rule in rules]

    assert _why(of("td3", "pure"), "E-v0") == "nothing is there of random objective"
    assert _why(of("pure"), "E-v0") == "nothing is there of random objective and td3"
    assert _why(of("td3", "random objective"), "E-v0").startswith("TD3 does not beat")
