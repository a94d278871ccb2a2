"""What is refused before a study's first job: commands, names, and environments that chose."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from metagenrl.base.checks import UsageError
from metagenrl.commands.studies.experiment import check_experiment
from metagenrl.commands.studies.sweep import run_sweep
from metagenrl.studies.options import ExperimentConfig, SweepConfig

GOLDEN = Path(__file__).parents[2] / "golden/v0.1/inprocess"
STUDY: dict[str, Any] = {
    "title": "T",
    "environments": {
        "meta_training": ["Pendulum-v1", "InvertedDoublePendulum-v5"],
        "test": ["Hopper-v5"],
    },
    "train": {"preset": "quickstart"},
    "test": {"preset": "quickstart"},
    "variants": {"a": None},
    "scales": {"small": {"meta_seeds": 2, "steps": 500}},
}


def config(folder: Path, **changes: object) -> ExperimentConfig:
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({**STUDY, **changes}))
    return ExperimentConfig(recipe=path, out=folder / "out")


def refused(config: ExperimentConfig) -> str:
    with pytest.raises(ValueError, match=r"^\S+: got ") as error:
        check_experiment(config)
    assert not config.out.exists()
    return str(error.value)


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ({"a b": {}, "a_b": {}}, "recipe: got 'a b' and 'a_b' (both are the folder '"),
        ({"a": {"stages": [0.1, 0.104]}}, "recipe: got 'a at 10%' and 'a at 10%' (both are the f"),
        ({"a": {"stages": [0.1]}, "a-at-010": {}}, "recipe: got 'a at 10%' and 'a-at-010' (both"),
        ({"a": {"stages": [0.1]}, "a at 10%": {}}, "recipe: got 'a at 10%' twice in Hopper-v5, "),
        ({"a" * 300: {}}, "recipe: got 'aaaaa"),
    ],
)
def test_two_results_in_one_place_are_refused(
    variants: dict[str, Any], message: str, tmp_path: Path
) -> None:
    assert refused(config(tmp_path, variants=variants)).startswith(message)


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"variants": {"a": {"train": {"seed": 4}}}}, "--seed twice"),
        ({"variants": {"a": {"train": {"run-dir": "z"}}}}, "--run-dir twice"),
        ({"variants": {"a": {"train": {"envs": ["Reacher-v5"]}}}}, "--envs twice"),
        ({"variants": {"a": {"algo": "epg", "train": {"seed": 4}}}}, "--seed twice"),
        ({"variants": {"a": {"algo": "rl2", "train": {"seeds": 4}}}}, "--seeds twice"),
        ({"train": {"batch_size": 2, "batch-size": 4}}, "--batch-size twice"),
        ({"train": {"agent.gamma": 0.9, "gamma": 0.8}}, "--agent.gamma and --gamma, one option,"),
        ({"test": {"steps": 5}}, "--steps twice"),
        ({"test": {"workers": 5}}, "--workers twice"),
        ({"baselines": {"ppo": {"eval-every": 5}}}, "--eval-every twice"),
    ],
)
def test_an_option_stands_once_and_is_not_the_studys_own(
    changes: dict[str, Any], option: str, tmp_path: Path
) -> None:
    message = refused(config(tmp_path, **changes))
    assert message.startswith(f"recipe: got {option} in 'metagenrl ")


def test_what_a_study_leaves_open_may_be_said(tmp_path: Path) -> None:
    variants = {"a": {"algo": "epg", "train": {"engine": "ray", "preset": "quickstart"}}}
    check_experiment(config(tmp_path, variants=variants))
    check_experiment(config(tmp_path, train={"wandb": "offline", "preset": "quickstart"}))


def test_environments_that_choose_a_version_are_not_tested_in(tmp_path: Path) -> None:
    chosen = {"eval-envs": ["Hopper"], "eval-steps": 1000}
    message = refused(config(tmp_path, variants={"a": {"version": "best", "train": chosen}}))
    assert message.startswith("environments: got Hopper-v5 in both a's eval_envs and test")
    file = tmp_path / "train.yaml"
    file.write_text("held_out: {eval_envs: [Hopper-v5], eval_steps: 1000}\n")
    variants = {"a": {"train": {"config": str(file)}}}
    assert "in both a's eval_envs and test" in refused(config(tmp_path, variants=variants))


def test_a_finished_objective_is_checked_as_it_stands(tmp_path: Path) -> None:
    variants = {"a": {"objective": "nowhere"}}
    message = refused(config(tmp_path, variants=variants))
    assert "objective: got 'nowhere' (nowhere: no objective snapshot" in message
    check_experiment(config(tmp_path, variants={"a": {"objective": str(GOLDEN)}}))


def test_a_finished_objective_names_the_environments_that_it_had(tmp_path: Path) -> None:
    variants = {"a": {"objective": str(GOLDEN), "meta_training": ["Pendulum-v1"]}}
    assert refused(config(tmp_path, variants=variants)) == (
        "variants.a.meta_training: got ['Pendulum-v1'], allowed: the objective's own, "
        "Pendulum-v1, InvertedDoublePendulum-v5"
    )


def test_what_chose_a_finished_objective_is_not_tested_in(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(GOLDEN, run)
    values = yaml.safe_load((run / "config.yaml").read_text())
    values["held_out"]["eval_envs"] = ["Hopper-v5"]
    (run / "config.yaml").write_text(yaml.safe_dump(values))
    message = refused(config(tmp_path, variants={"a": {"objective": str(run)}}))
    assert message.startswith("environments: got Hopper-v5 in both a's eval_envs and test")


@pytest.mark.parametrize("command", ["experiment --recipe", "sweep --file"])
def test_a_report_needs_the_folder_of_a_study(
    command: str, tmp_path: Path, refusal: Callable[[str], str]
) -> None:
    file = config(tmp_path).recipe
    if command.startswith("sweep"):
        file.write_text("command: baseline\noptions: {algo: td3}\ngrid: {env: [Pendulum-v1]}\n")
    out = tmp_path / "typo"
    message = refusal(f"{command} {file} --out {out} --report-only")
    assert message == f"out: got '{out}', allowed: with --report-only a study's folder"
    assert not out.exists()
    out.mkdir()
    if command.startswith("sweep"):
        assert run_sweep(SweepConfig(file=file, out=out, report_only=True)) == 1
        assert not list(out.iterdir())


def test_a_report_needs_no_finished_objective(tmp_path: Path) -> None:
    study = config(tmp_path, variants={"a": {"objective": "nowhere"}})
    study.out.mkdir()
    check_experiment(ExperimentConfig(recipe=study.recipe, out=study.out, report_only=True))
    with pytest.raises(UsageError, match="nowhere"):
        check_experiment(study)
