"""`metagenrl compare`: numbers by hand, three files, and runs that do not go together refused."""

import csv
import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from metagenrl.analysis.compare.read import comparable, read_rows
from metagenrl.analysis.compare.scores import ALL, Comparison, Line, compare
from metagenrl.commands.main import main
from metagenrl.learner.hyperparams import AgentConfig
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.runs.config.lone_agents import BaselineConfig, MetaTestConfig
from metagenrl.runs.config.yaml import to_yaml
from metagenrl.runs.row_codec import to_line
from metagenrl.runs.rows import EvaluationRow

Store = Callable[..., Path]
Finals = Sequence[float | None]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Makes a run folder; `finals` are the agents' last returns, None where one did not finish.

    Every agent starts at -100 and is evaluated each 1 000 steps, in between halfway to its end.
    """

    def stored(
        label: str, env: str, finals: Finals, steps: int = 2_000, name: str = "", first: int = 0
    ) -> Path:
        folder = tmp_path / (name or f"{env}-{label}")
        folder.mkdir()
        (folder / "config.yaml").write_text(yaml.safe_dump({"env": env, "steps": steps}))
        (folder / "objective.json").write_text(json.dumps({"label": label, "rule": label}))
        rows = []
        for seed, final in enumerate(finals, first):
            for step in range(0, steps + 1, 1_000):
                if final is None and step == steps:
                    continue
                value = -100 + (-100 if final is None else final + 100) * step / steps
                rows.append(EvaluationRow(label, env, seed, step, value, (value,)))
        (folder / "evaluations.jsonl").write_text("".join(map(to_line, rows)))
        return folder

    return stored


def compared(*folders: Path, **flags: bool) -> Comparison:
    flags = {"mix_steps": False, "mix_versions": False} | flags
    return compare(comparable(read_rows(folders), **flags))


def line_of(lines: Sequence[Line], label: str, env: str) -> Line:
    return next(line for line in lines if (line.label, line.environment) == (label, env))


def test_an_evaluation_that_is_there_twice_and_differs_is_told(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    folder = store("td3", "A-v1", [10.0])
    rows = (folder / "evaluations.jsonl").read_text().splitlines()
    with open(folder / "evaluations.jsonl", "a") as file:
        file.write(rows[-1] + "\n")  # what a resumed run writes again
    assert line_of(compared(folder).lines, "td3", "A-v1").mean.value == 10
    assert not caplog.messages
    with open(folder / "evaluations.jsonl", "a") as file:
        file.write(to_line(EvaluationRow("td3", "A-v1", 0, 2_000, 99.0, ())))
    assert line_of(compared(folder).lines, "td3", "A-v1").mean.value == 99
    told = f"{folder}: 1 evaluation is there twice with other returns, the later counts"
    assert caplog.messages == [told]


def test_without_its_facts_a_run_is_called_as_in_its_rows(store: Store) -> None:
    folder = store("learned objective v7", "A-v1", [0.0, 10.0])
    (folder / "objective.json").unlink()
    (line,) = compared(folder).lines
    assert line.label == "learned objective v7"


def test_mean_and_interquartile_mean_of_the_last_returns(store: Store) -> None:
    result = compared(store("td3", "A-v1", [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 1000.0]))
    (line,) = result.lines
    assert line.mean.value == 1210 / 8
    assert line.iqm.value == (20 + 30 + 40 + 50) / 4
    assert line.mean.low < line.mean.value < line.mean.high
    assert (line.agents, line.unfinished, line.steps) == (8, 0, 2_000)
    assert result.overall == []  # one environment: nothing to aggregate


def test_scores_are_normalised_between_control_and_td3(store: Store) -> None:
    result = compared(
        store("random objective", "A-v1", [10.0, 30.0]),
        store("td3", "A-v1", [110.0, 130.0]),
        store("mine", "A-v1", [70.0, 90.0]),
        store("random objective", "B-v1", [-4.0, -2.0]),
        store("td3", "B-v1", [-2.0, 0.0]),
        store("mine", "B-v1", [-1.0, 1.0]),
    )
    scale = result.normalisations["A-v1"]
    assert (scale.zero, scale.zero_by, scale.one, scale.one_by) == (
        20.0, "random objective", 120.0, "td3",
    )  # fmt: skip
    # mine: (0.5, 0.7) in A; (1, 2) in B, between -3 and -1
    mine = line_of(result.overall, "mine", ALL)
    assert mine.mean.value == pytest.approx((0.6 + 1.5) / 2)
    assert mine.iqm.value == pytest.approx((0.7 + 1.0) / 2)
    assert line_of(result.overall, "td3", ALL).mean.value == pytest.approx(1.0)
    assert line_of(result.overall, "random objective", ALL).mean.value == pytest.approx(0.0)


def test_without_control_and_td3_other_ends_serve(store: Store) -> None:
    result = compared(
        store("good", "A-v1", [100.0, 100.0]), store("bad", "A-v1", [0.0, 0.0]),
        store("good", "B-v1", [-150.0, -150.0]), store("bad", "B-v1", [-200.0, -200.0]),
    )  # fmt: skip
    scale = result.normalisations["A-v1"]
    assert (scale.zero, scale.zero_by, scale.one, scale.one_by) == (
        -100.0, "untrained policies", 100.0, "good",
    )  # fmt: skip
    assert "B-v1" not in result.normalisations  # all got worse
    assert any("B-v1 is left out" in note for note in result.notes)
    assert result.notes[-1] == "No aggregate: 1 environment left."


def test_agents_of_one_rule_are_put_together_and_unfinished_ones_are_counted(store: Store) -> None:
    result = compared(
        store("td3", "A-v1", [1.0, 2.0], name="one"),
        store("td3", "A-v1", [3.0, None], name="two", first=2),
    )
    (line,) = result.lines
    assert line.mean.value == 2.0
    assert (line.agents, line.unfinished) == (3, 1)


def test_different_numbers_of_agents_are_cut_for_the_aggregate(store: Store) -> None:
    result = compared(
        store("td3", "A-v1", [1.0, 3.0, 800.0]), store("random objective", "A-v1", [0.0, 0.0]),
        store("td3", "B-v1", [1.0, 3.0]), store("random objective", "B-v1", [0.0, 0.0]),
    )  # fmt: skip
    line = line_of(result.overall, "td3", ALL)
    assert line.agents == 2
    assert any(note == "Aggregate of td3: the first 2 agents of each environment."
               for note in result.notes)  # fmt: skip
    assert line.mean.value == pytest.approx((2 / 268 + 1.0) / 2)


def test_mixed_steps_are_refused_and_else_cut_to_the_last_common_one(store: Store) -> None:
    runs = store("td3", "A-v1", [40.0, 60.0], steps=4_000), store("mine", "A-v1", [5.0, 7.0])
    with pytest.raises(ValueError, match=r"steps: got 2000 \(.*A-v1-mine\) and 4000 \(.*A-v1-td3"):
        compared(*runs)
    result = compared(*runs, mix_steps=True)
    assert line_of(result.lines, "td3", "A-v1").mean.value == pytest.approx(-25)  # halfway
    assert line_of(result.lines, "mine", "A-v1").mean.value == 6.0
    # In different environments different lengths are in order.
    other = store("td3", "B-v1", [1.0, 2.0], steps=1_000)
    assert line_of(compared(runs[0], other).lines, "td3", "B-v1").steps == 1_000


def test_mixed_versions_are_refused_and_else_count_as_one(store: Store) -> None:
    runs = store("td3", "A-v4", [40.0, 60.0]), store("mine", "A-v5", [5.0, 7.0])
    with pytest.raises(ValueError, match=r"env: got A-v4 \(.*\) and A-v5 \(.*--allow-env-versions"):
        compared(*runs)
    result = compared(*runs, mix_versions=True)
    assert [line.environment for line in result.lines] == ["A (v4, v5)"] * 2


def test_hyper_parameters_that_differ_make_separate_rows(store: Store) -> None:
    runs = [store("td3", "A-v1", [1.0, 2.0], name=name) for name in ("plain", "other")]
    configuration = BaselineConfig(
        algo="td3", env="A-v1", run_dir=runs[1], steps=2_000, agent=AgentConfig(gamma=0.5)
    )
    (runs[1] / "config.yaml").write_text(to_yaml(configuration))
    (runs[0] / "config.yaml").write_text(
        to_yaml(dataclasses.replace(configuration, run_dir=runs[0], agent=AgentConfig()))
    )
    labels = {line.label for line in compared(*runs).lines}
    assert labels == {"td3 (gamma=0.99)", "td3 (gamma=0.5)"}


def configured(store: Store, name: str, env: str = "A-v1", first: int = 0, **fields: Any) -> Path:
    """A run of td3 with these fields."""
    run = store("td3", env, [1.0, 2.0], name=name, first=first)
    config = BaselineConfig(algo="td3", env=env, run_dir=run, steps=2_000, **fields)
    (run / "config.yaml").write_text(to_yaml(config))
    return run


def test_numbers_of_evaluation_episodes_are_not_pooled_and_are_told(store: Store) -> None:
    few = configured(store, "few", eval_episodes=1)
    more = configured(store, "more", first=2, eval_episodes=20)
    elsewhere = configured(store, "elsewhere", "B-v1", eval_episodes=7)
    result = compared(few, more, elsewhere)
    assert [(line.label, line.agents) for line in result.lines] == [
        ("td3 (eval_episodes=1)", 2), ("td3 (eval_episodes=20)", 2), ("td3", 2),
    ]  # fmt: skip
    told = (
        "Episodes of each evaluation in A-v1: 1 for td3 (eval_episodes=1); 20 for td3 "
        "(eval_episodes=20). Fewer episodes scatter more."
    )
    assert result.notes[0] == told
    assert not any("Episodes" in note for note in compared(few, elsewhere).notes)


def test_how_a_run_was_carried_out_makes_no_rows(store: Store) -> None:
    plain = configured(store, "plain")
    other = configured(
        store, "other", first=2, env_start_timeout=30.0, take_over=True, resume=True, workers=1
    )
    assert [line.agents for line in compared(plain, other).lines] == [4]


def test_objectives_are_told_apart_by_their_parameters_alone(
    store: Store, snapshot: ObjectiveSnapshot
) -> None:
    label = f"learned objective v{snapshot.version}"
    runs = [store(label, "A-v1", [1.0, 2.0], name=str(i), first=2 * i) for i in range(3)]
    copies = [
        snapshot,
        dataclasses.replace(snapshot, run="elsewhere", version=7, created="2025-01-01"),
        dataclasses.replace(snapshot, alpha=snapshot.alpha + 1),
    ]
    for run, copy in zip(runs, copies, strict=True):
        copy.save(run / "objective.safetensors")
    agents = [line.agents for line in compared(*runs).lines]
    assert agents == [4, 2]
    assert [line.agents for line in compared(*runs[:2]).lines] == [4]


def test_an_agent_counts_once(store: Store, tmp_path: Path) -> None:
    run = store("td3", "A-v1", [1.0, 2.0])
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    with pytest.raises(ValueError, match=r"seed 0 of td3 in A-v1 twice \(.*A-v1-td3 and .*copy\)"):
        compared(run, copy)
    assert compared(run, run).lines[0].agents == 2  # one folder, named twice


def test_policies_that_have_not_begun_to_learn_are_not_compared(store: Store) -> None:
    short = store("mine", "A-v1", [1.0], steps=1_000)
    long = store("td3", "A-v1", [5.0], steps=2_000)
    configuration = BaselineConfig(
        algo="td3", env="A-v1", run_dir=long, steps=2_000, agent=AgentConfig(learning_starts=1_500)
    )
    (long / "config.yaml").write_text(to_yaml(configuration))
    with pytest.raises(ValueError, match=r"steps: got 1000 as the last .* allowed: more than 1500"):
        compared(short, long, mix_steps=True)
    assert compared(long).lines[0].steps == 2_000


def test_what_a_meta_learner_left_learns_from_its_first_step(store: Store) -> None:
    tested = store("rl2", "A-v1", [1.0], steps=1_000)
    configuration = MetaTestConfig(env="A-v1", objective="run", run_dir=tested, steps=1_000)
    assert configuration.agent.learning_starts == 1_000
    (tested / "config.yaml").write_text(to_yaml(configuration))
    assert compared(tested).lines[0].steps == 1_000


@pytest.fixture
def four_runs(store: Store) -> list[str]:
    runs = [
        store("random objective", "A-v1", [0.0, 1.0, 2.0]), store("td3", "A-v1", [8.0, 9.0, None]),
        store("random objective", "B-v1", [0.0, 1.0]), store("td3", "B-v1", [4.0, 9.0]),
    ]  # fmt: skip
    return list(map(str, runs))


def test_the_command_writes_table_numbers_and_picture(
    four_runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    main(["compare", *four_runs, "--out", str(out)])
    table = (out / "comparison.md").read_text()
    assert table in capsys.readouterr().out
    assert "| A-v1            | td3 " in table
    assert "(+1 unfinished)" in table
    assert "- B-v1: 0 is 0.5 (random objective), 1 is 6.5 (td3)" in table
    with open(out / "comparison.csv", newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    assert len(rows) == 2 * (4 + 2)  # mean and iqm, of four rules and environments and of two rules
    td3 = next(r for r in rows if (r["environment"], r["rule"]) == ("A-v1", "td3"))
    assert (td3["statistic"], td3["agents"], td3["unfinished"]) == ("mean", "2", "1")
    assert [float(td3[name]) for name in ("value", "low", "high")] == [8.5, 8.0, 9.0]
    assert (out / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_one_agent_has_a_number_and_no_interval(store: Store, tmp_path: Path) -> None:
    run = store("td3", "A-v1", [5.0])
    main(f"compare {run} --out {tmp_path / 'out'}".split())
    with open(tmp_path / "out" / "comparison.csv", newline="") as file:
        row = next(csv.DictReader(file))
    assert (row["value"], row["low"], row["high"]) == ("5.0", "", "")
    (line,) = compared(run).lines
    assert math.isnan(line.iqm.low)
    assert np.isfinite(line.iqm.value)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("compare --out out", "runs: got [], allowed: at least one folder"),
        ("compare {run}", "out: missing, allowed: a path"),
        ("compare nowhere --out out", "runs: got 'nowhere' (no such folder), allowed: folders of "),
        ("compare {tmp}/empty --out out", "runs: got '{tmp}/empty' (holds no run of these comma"),
        ("compare {failed} --out out", "runs: got '{failed}', allowed: at least one agent that re"),
        ("compare {run} --out {run}/config.yaml", "out: got '{run}/config.yaml' (a file), allowed"),
        ("compare {run} {longer} --out out", "steps: got 3000 ({longer}) and 2000 ({run}), allow"),
        ("compare {run} --allow-step --out out", "--allow-step: unknown option, did you mean --al"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    line: str, complaint: str, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    names = {
        "tmp": str(tmp_path), "run": str(store("td3", "A-v1", [1.0])),
        "longer": str(store("td3", "A-v1", [1.0], steps=3_000, name="longer")),
        "failed": str(store("td3", "A-v1", [None, None], name="failed")),
    }  # fmt: skip
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as caught:
        main([word.format(**names) for word in line.split()])
    assert caught.value.code == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith(f"error: {complaint.format(**names)}")
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
