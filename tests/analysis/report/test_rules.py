"""Which agents a row of the table stands for."""

import numpy as np
import yaml

from metagenrl.analysis.confidence import iqm_band, iqm_with_interval
from metagenrl.analysis.learning_curves import POINTS, Curves, drawable
from metagenrl.analysis.report.discover import find_runs
from metagenrl.analysis.report.rules import Rules
from metagenrl.analysis.report.variants import Variants
from metagenrl.objective_server.snapshots.find import record_best
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.runs.config.yaml_file import load_mapping
from metagenrl.runs.metrics_file import MetricsWriter
from metagenrl.runs.names import EVALUATIONS_FILE
from metagenrl.runs.rows import EvaluationRow

SEEN = {"environments": ["Pendulum-v1", "Hopper-v5"]}


def rules_of(folder) -> Rules:
    runs = find_runs([folder])
    return Rules(runs, Variants(runs.training))


def test_objectives_of_several_seeds_are_one_rule(train_run, new_agents, tmp_path) -> None:
    for seed in (0, 1):
        train_run(f"run-{seed}", seed=seed)
        new_agents(
            f"test-{seed}", "E", [{100: 10.0 * seed}], "learned", run=f"id-run-{seed}",
            version=7, **SEEN,
        )  # fmt: skip
    (rule,) = rules_of(tmp_path).rules
    assert rule.name == "MetaGenRL Pendulum & Hopper, 4 agents"
    assert rule.curves["E"].final.tolist() == [0.0, 10.0]


def test_other_configurations_are_other_rules(train_run, new_agents, tmp_path) -> None:
    for name, fields in (("small", {"agents": 4}), ("large", {"agents": 8, "steps_": 0})):
        train_run(name, agents=fields["agents"])
        new_agents(f"of-{name}", "E", [{100: 1.0}], "learned", run=f"id-{name}", version=7, **SEEN)
    names = [rule.name for rule in rules_of(tmp_path).rules]
    assert sorted(names) == [
        "MetaGenRL Pendulum & Hopper, 4 agents",
        "MetaGenRL Pendulum & Hopper, 8 agents",
    ]


def test_many_environments_are_counted_and_such_objectives_told_apart(new_agents, tmp_path) -> None:
    many = [f"E{index}-v0" for index in range(12)]
    for run, version in (("pure", 4703), ("critic", 2802)):
        new_agents(run, "E", [{100: 1.0}], "learned", run=run, version=version, environments=many)
    names = [rule.name for rule in rules_of(tmp_path).rules]
    assert sorted(names) == [
        "MetaGenRL of 12 environments, v2802",
        "MetaGenRL of 12 environments, v4703",
    ]


def test_of_several_versions_the_last_counts_unless_one_is_best(
    train_run, new_agents, tmp_path
) -> None:
    run = train_run("run")
    for version, value in ((3, 30.0), (9, 90.0)):
        new_agents(
            f"v{version}", "E", [{100: value}], "learned", run="id-run", version=version, **SEEN
        )
    assert rules_of(tmp_path).rules[0].curves["E"].final.tolist() == [90.0]
    snapshot = ObjectiveSnapshot(np.ones(3, np.float32), 3, {}, ("E",), 1, "id-run")
    (run / "objectives").mkdir()
    snapshot.save(run / "objectives" / "objective-00000003.safetensors")
    record_best(run, 3, 1.0, "held-out return")
    assert rules_of(tmp_path).rules[0].curves["E"].final.tolist() == [30.0]


def test_returns_after_different_numbers_of_steps_are_not_mixed(new_agents, tmp_path) -> None:
    new_agents("short", "E", [{50: 1.0}], steps=50)
    new_agents("long", "E", [{100: 9.0}], steps=100)
    finals = {rule.name: rule.curves["E"].final.tolist() for rule in rules_of(tmp_path).rules}
    assert finals == {"td3, 50 steps": [1.0], "td3, 100 steps": [9.0]}


def test_other_hyper_parameters_are_other_rules(new_agents, tmp_path) -> None:
    for gamma in (0.5, 0.99):
        folder = new_agents(f"td3-{gamma}", "E", [{100: gamma}], "td3")
        config = folder / "config.yaml"
        config.write_text(config.read_text().replace("gamma: 0.99", f"gamma: {gamma}"))
    finals = {rule.name: rule.curves["E"].final.tolist() for rule in rules_of(tmp_path).rules}
    assert finals == {"td3 (gamma=0.5)": [0.5], "td3 (gamma=0.99)": [0.99]}


def test_a_meta_learner_is_there_in_all_environments_it_trained_in(new_agents, tmp_path) -> None:
    """RL² keeps evaluations in each of them, and its test has a name of its own."""
    envs = SEEN["environments"]
    folder = new_agents("rl2", "E", [], "rl2", phase="train", **SEEN)
    config = load_mapping(folder / "config.yaml") | {"algo": "rl2", "env": "", "envs": envs}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    rows = [EvaluationRow("rl2", env, 0, 100, 1.0 + i, ()) for i, env in enumerate(envs)]
    MetricsWriter(folder / EVALUATIONS_FILE).write(rows)
    new_agents("test", "Hopper-v5", [{100: 5.0}], "rl2", phase="test", **SEEN)
    rules = rules_of(tmp_path).rules
    finals = {(r.name, env): c.final.tolist() for r in rules for env, c in r.curves.items()}
    name = "RL² Pendulum & Hopper"
    assert finals == {
        (f"{name}, meta-training", envs[0]): [1.0],
        (f"{name}, meta-training", envs[1]): [2.0],
        (name, envs[1]): [5.0],
    }


def test_the_order_is_learned_control_baselines(new_agents, tmp_path) -> None:
    new_agents("a", "E", [{100: 1.0}], "td3")
    new_agents("b", "E", [{100: 1.0}], "random")
    new_agents("c", "E", [{100: 1.0}], "learned", run="gone", version=1, environments=["E"])
    assert [rule.name for rule in rules_of(tmp_path).rules] == [
        "MetaGenRL E", "random objective", "td3",
    ]  # fmt: skip


def test_the_band_skips_agents_that_were_not_evaluated() -> None:
    returns = np.array([[1.0, 5.0], [2.0, np.nan], [3.0, 7.0], [6.0, 9.0], [100.0, 1.0]])
    band = iqm_band(returns)
    assert band.values.tolist() == [(2 + 3 + 6) / 3, 6.0]  # (5 + 7) / 2 of 1 5 7 9
    same = iqm_with_interval(returns[[0, 2, 3, 4], 1], repetitions=2_000)
    assert (band.low[1], band.high[1]) == (same.low, same.high)


def test_a_long_curve_keeps_its_end() -> None:
    steps = np.arange(1_001.0)
    thin = drawable(Curves("E", "l", steps, steps[None] * 2, np.zeros(1, np.int64)))
    assert len(thin.steps) <= POINTS
    assert thin.steps[-1] == 1_000
    np.testing.assert_array_equal(thin.returns[0], thin.steps * 2)
