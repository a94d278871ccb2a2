"""Which objective is tested: provenance, the copy in the run folder, what is refused."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from metagenrl.base.checks import UsageError
from metagenrl.learner.hyperparams import ObjectiveConfig
from metagenrl.learner.objective.net import ObjectiveNet
from metagenrl.meta_test.run import meta_test
from metagenrl.meta_test.summary import familiarity, mean_and_interval, summary
from metagenrl.meta_test.tested_objective import objective_of_baseline, objective_of_test
from metagenrl.objective_server.snapshots.find import record_best, snapshot_path
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.runs.config.lone_agents import BaselineConfig, MetaTestConfig
from metagenrl.runs.config.yaml import to_dict
from metagenrl.runs.rows import EvaluationRow

ARCHITECTURE = ObjectiveConfig(lstm_units=4, hidden_units=4, input_features=2)


def store(run_dir: Path, version: int) -> Path:
    size = ObjectiveNet(ARCHITECTURE).layout.size
    alpha = np.full(size, version, np.float32)
    path = snapshot_path(run_dir, version)
    path.parent.mkdir(parents=True, exist_ok=True)
    config = to_dict(ARCHITECTURE)
    ObjectiveSnapshot(alpha, version, config, ("Pendulum-v1",), steps=10, run="r").save(path)
    return path


@pytest.fixture
def config(tmp_path: Path) -> MetaTestConfig:
    """A test of the best objective of a run with versions 5 and 9."""
    store(tmp_path / "run", 5)
    store(tmp_path / "run", 9)
    record_best(tmp_path / "run", 5, 1.0, "return")
    return MetaTestConfig(
        env="Hopper-v5",
        run_dir=tmp_path / "test",
        objective=str(tmp_path / "run"),
        architecture=ARCHITECTURE,
    )


def test_version_label_and_provenance(config: MetaTestConfig) -> None:
    for version, number in (("best", 5), ("last", 9), ("9", 9)):
        tested = objective_of_test(dataclasses.replace(config, version=version))
        assert tested.label == tested.facts["label"] == f"learned objective v{number}"
        assert tested.facts["file"] == str(snapshot_path(Path(config.objective), number))
        assert tested.facts["environments"] == ["Pendulum-v1"]
        assert tested.facts["run"] == "r"
        assert not tested.seen
        assert familiarity(tested) == "not seen in meta-training"
    assert objective_of_test(dataclasses.replace(config, env="Pendulum-v1")).seen


def test_a_resumed_test_goes_on_with_the_objective_it_began_with(config: MetaTestConfig) -> None:
    tested = objective_of_test(config)
    config.run_dir.mkdir()
    tested.save(config.run_dir)
    record_best(Path(config.objective), 9, 2.0, "return")
    resumed = objective_of_test(dataclasses.replace(config, resume=True))
    assert resumed.facts == tested.facts
    assert resumed.facts == json.loads((config.run_dir / "objective.json").read_text())
    assert resumed.choice == tested.choice
    assert ObjectiveSnapshot.load(Path(resumed.choice.snapshot)).version == 5
    assert objective_of_test(config).label == "learned objective v9"


def test_controls_and_baselines_have_names(config: MetaTestConfig, tmp_path: Path) -> None:
    control = objective_of_test(dataclasses.replace(config, objective="random"))
    assert (control.label, control.choice.rule) == ("random objective", "random")
    assert control.choice.architecture == ARCHITECTURE
    assert familiarity(control) == "no meta-training"
    for algo in ("td3", "ddpg", "reinforce-off"):
        baseline = objective_of_baseline(
            BaselineConfig(env="Hopper-v5", run_dir=tmp_path, algo=algo)  # type: ignore[arg-type]
        )
        assert (baseline.label, baseline.choice.rule) == (algo, algo)


def test_an_unusable_objective_is_refused_before_anything_is_written(
    config: MetaTestConfig,
) -> None:
    other = dataclasses.replace(config, architecture=ObjectiveConfig(lstm_units=8))
    with pytest.raises(
        UsageError, match=r"^objective: got .*lstm_units=4.*expected .*lstm_units=8"
    ):
        meta_test(other)
    damaged = snapshot_path(Path(config.objective), 5)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(UsageError, match=rf"^objective: got .*{damaged.name}"):
        meta_test(config)
    with pytest.raises(UsageError, match="no objective snapshot '7', there: versions 5, 9"):
        meta_test(dataclasses.replace(config, version="7"))
    assert not config.run_dir.exists()


def test_files_of_seeds_without_a_run_are_not_mixed_in(config: MetaTestConfig) -> None:
    (config.run_dir / "seeds").mkdir(parents=True)
    refused = r"^run_dir: got .* \(holds seeds, which a run would write\), allowed: a new folder"
    with pytest.raises(UsageError, match=refused):
        meta_test(config)
    assert [path.name for path in config.run_dir.iterdir()] == ["seeds"]


def test_summary_by_hand(config: MetaTestConfig) -> None:
    rows = [
        EvaluationRow("x", config.env, seed, steps, value, (value,))
        for seed, values in enumerate([(0.0, 1.0), (0.0, 2.0), (3.0, 3.0), (1.0, None)])
        for steps, value in zip((0, config.steps), values, strict=True)
        if value is not None
    ]
    deep = dataclasses.replace(
        config, run_dir=config.run_dir / ("a" * 200)
    )  # wider than any pipe's table
    lines = summary(deep, objective_of_test(config), rows, 3_723.4)
    shown = dict(line.split("  ", 1) for line in lines)
    facts = {name.strip(): text.strip() for name, text in shown.items()}
    # t_{0.975, 2} = 4.3027 and s = 1 for 1, 2, 3: 2 -+ 4.3027 / sqrt(3)
    assert facts["final return"] == "2.0, 95 % interval -0.5 to 4.5 over 3 seeds"
    assert facts["untrained policy"].startswith("1.0, 95 % interval ")
    assert facts["seeds"] == "3 of 5 finished, 1,000,000 steps each"
    assert facts["wall time"] == "1:02:03"
    assert facts["run folder"] == str(deep.run_dir)
    assert mean_and_interval([4.0]) == "4.0 (one seed, no interval)"
    assert mean_and_interval([]) == "none"
