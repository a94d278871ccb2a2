"""Which run used which version of alpha, as the offline files say it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metagenrl.objective_server.snapshots.find import read_best
from metagenrl.runs.metrics_file import read_metrics
from metagenrl.tracking.wandb.account import wandb_id

Runs = Callable[[Path], dict[str, Any]]


@pytest.fixture(scope="module")
def tested(
    metagenrl: Callable[..., Any], tracked: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """New agents that the best version trained, shown by Weights & Biases."""
    test = tmp_path_factory.mktemp("tested") / "test"
    words = f"--objective {tracked} --version best --env Pendulum-v1 --seeds 4 --steps 60"
    words += f" --eval-every 30 --eval-episodes 1 --run-dir {test} --wandb offline"
    done = metagenrl("test", *words.split())
    assert f"wandb sync {test}/wandb/offline-run-*" in done.stdout
    return test


def test_lineage_leads_from_the_run_over_a_version_to_the_tests_that_used_it(
    tracked: Path, tested: Path, offline_runs: Runs
) -> None:
    """Held-out tests and `metagenrl test`: all know the version by the same digest."""
    group = wandb_id(json.loads((tracked / "run.json").read_bytes())["id"])
    runs = offline_runs(tracked)
    made = {a.digest: a for a in runs[group].artifacts() if not a.name.startswith("objective-best")}
    used = runs[f"{group}-held-out"].artifacts()
    versions = [json.loads(artifact.metadata)["version"] for artifact in used]
    assert versions == [row.version for row in read_metrics(tracked).scores]
    (run,) = offline_runs(tested).values()
    (of_test,) = run.artifacts()
    noted = read_best(tracked)
    assert noted is not None
    assert json.loads(of_test.metadata)["version"] == noted["version"]
    for artifact in (*used, of_test):
        assert artifact.use_after_commit
        assert artifact.name == made[artifact.digest].name
        assert "latest" not in artifact.aliases
    assert (run.run.run_group, run.run.job_type) == (group, "test")
    assert run.config["tested"]["rule"] == "learned"


def test_a_tests_file_says_what_its_evaluations_say(tested: Path, offline_runs: Runs) -> None:
    """Every key: of four agents the interquartile mean is that of the two in the middle."""
    returns: dict[int, list[float]] = {}
    for line in (tested / "evaluations.jsonl").read_text().splitlines():
        row = json.loads(line)
        returns.setdefault(row["steps"], []).append(row["return_mean"])
    assert {len(of_step) for of_step in returns.values()} == {4}
    prefix = "test/Pendulum-v1/return_"
    wanted = [
        {
            "test/steps": steps, f"{prefix}iqm": np.mean(sorted(of_step)[1:3]),
            f"{prefix}mean": np.mean(of_step), f"{prefix}min": min(of_step),
            f"{prefix}max": max(of_step),
        }
        for steps, of_step in sorted(returns.items())
    ]  # fmt: skip
    (run,) = offline_runs(tested).values()
    shown = [
        {key: value for key, value in row.items() if not key.startswith("_")}
        for row in run.history()
    ]
    assert len(shown) == len(wanted) == 3
    assert shown == [pytest.approx(row) for row in wanted]
