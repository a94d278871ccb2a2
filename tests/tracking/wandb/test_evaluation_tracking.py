"""A finished meta-test or baseline at Weights & Biases, offline: what its file says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metagenrl.runs.config.lone_agents import BaselineConfig
from metagenrl.runs.config.yaml import to_yaml
from metagenrl.runs.row_codec import to_line
from metagenrl.runs.rows import EvaluationRow
from metagenrl.tracking.keys import find_key
from metagenrl.tracking.wandb.lone_agents import (
    evaluation_values,
    log_evaluation,
    track_evaluation,
)

pytestmark = pytest.mark.usefixtures("no_account")

Runs = Callable[[Path], dict[str, Any]]


def row(seed: int, steps: int, value: float | None, env: str = "a/E") -> EvaluationRow:
    return EvaluationRow("td3", env, seed, steps, value, ())


ROWS = [row(0, 0, -1.0), row(0, 50, 4.0), row(1, 0, -3.0), row(1, 50, None), row(2, 50, 8.0)]


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    """The folder of a baseline that is over."""
    run_dir = tmp_path / "baseline"
    (run_dir / "wandb").mkdir(parents=True)
    config = BaselineConfig(env="a/E", algo="td3", run_dir=run_dir, steps=50)
    (run_dir / "config.yaml").write_text(to_yaml(config))
    (run_dir / "objective.json").write_text(json.dumps({"label": "td3", "rule": "td3"}))
    (run_dir / "evaluations.jsonl").write_text("".join(map(to_line, ROWS)))
    return run_dir


def test_returns_are_put_together_step_by_step() -> None:
    first, last = evaluation_values([*ROWS, row(0, 50, 1.0, "F")])
    assert first == (0, {
        "test/steps": 0.0, "test/a-E/return_iqm": -2.0, "test/a-E/return_mean": -2.0,
        "test/a-E/return_min": -3.0, "test/a-E/return_max": -1.0,
    })  # fmt: skip
    assert (last[0], last[1]["test/a-E/return_mean"], last[1]["test/F/return_mean"]) == (50, 6, 1)
    assert {find_key(key)[0].axis for key in last[1]} == {"test/steps"}


def test_the_same_results_are_logged_once_and_others_as_another_run(
    baseline: Path, offline_runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    log_evaluation(baseline, "offline")
    log_evaluation(baseline, "offline")
    (run,) = offline_runs(baseline).values()
    assert caplog.text.count(f"wandb sync {baseline}/wandb/offline-run-*") == 1
    assert run.shown("test/a-E/return_mean", "test/steps") == {0.0: -2.0, 50.0: 6.0}
    assert run.axes() == {"test/*": "test/steps"}
    assert run.artifacts() == []
    assert (run.run.job_type, run.run.display_name) == ("baseline", "td3 in a/E")
    assert run.config["tested"] == {"label": "td3", "rule": "td3"}
    with open(baseline / "evaluations.jsonl", "a") as file:
        file.write(to_line(row(1, 100, 2.0)))
    log_evaluation(baseline, "offline")
    assert len(offline_runs(baseline)) == 2


def test_a_folder_that_cannot_be_shown_is_one_line(baseline: Path) -> None:
    (baseline / "evaluations.jsonl").unlink()
    said: list[str] = []
    config = BaselineConfig(env="E", algo="td3", run_dir=baseline, wandb="offline")
    track_evaluation(config, said.append)
    assert said == [f"wandb: ended with exit code 1, see {baseline}/wandb/tracker.log"]
    assert "FileNotFoundError" in (baseline / "wandb" / "tracker.log").read_text()


def test_wandbs_own_variables_name_the_project_and_switch_it_off(
    baseline: Path, offline_runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "thesis")
    config = BaselineConfig(env="E", algo="td3", run_dir=baseline, wandb="offline")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    track_evaluation(config, pytest.fail)
    assert offline_runs(baseline) == {}
    monkeypatch.delenv("WANDB_MODE")
    log_evaluation(baseline, "offline")
    (run,) = offline_runs(baseline).values()
    assert run.run.project == "thesis"
