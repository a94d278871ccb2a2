"""Film strips of the report: of the median agent, embedded and as a file, or why there are none."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from metagenrl.analysis.report import films
from metagenrl.analysis.report.assemble import make_report
from metagenrl.analysis.report.discover import find_runs
from metagenrl.policies.find import kept_policy
from metagenrl.policies.kept import KeptPolicy, facts_of, policy_path
from metagenrl.runs.names import EVALUATIONS_FILE, FACTS_FILE, METRICS_FILE

GOLDEN = Path(__file__).parents[2] / "golden/v0.1"
ENV = "Pendulum-v1"


@pytest.fixture
def test_run(tmp_path: Path) -> Path:
    """A finished test of three agents, of which two have kept a policy."""
    run = tmp_path / "test"
    (run / "seeds").mkdir(parents=True)
    (run / "config.yaml").write_text(f"env: {ENV}\nsteps: 100\nseeds: 3\n")
    (run / FACTS_FILE).write_text(json.dumps({"rule": "random", "label": "random objective"}))
    rows = [
        {"kind": "evaluation", "label": "random objective", "env": ENV, "seed": seed,
         "steps": 100, "return_mean": value, "returns": [value]}
        for seed, value in ((0, -900.0), (1, -1200.0), (2, -100.0))
    ]  # fmt: skip
    (run / EVALUATIONS_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))
    for seed in (0, 1):
        arrays = kept_policy(GOLDEN / "cohort").arrays
        KeptPolicy(facts_of("random", ENV, seed, 100), arrays).save(
            policy_path(run / "seeds", seed)
        )
    return run


def test_the_report_shows_the_median_agent_that_kept_its_policy(test_run: Path) -> None:
    page = make_report([test_run], test_run / "report")
    text = page.read_text()
    assert "seed 1, the median of 2 agents" in text
    assert 'src="data:image/png;base64,' in text
    assert (page.parent / "film-0.png").read_bytes()[1:4] == b"PNG"


def test_the_median_is_over_all_folders_of_a_rule_and_of_no_other(test_run: Path) -> None:
    other = shutil.copytree(test_run, test_run.parent / "others")
    rows = (other / EVALUATIONS_FILE).read_text().replace(": -900.0", ": -1300.0")
    (other / EVALUATIONS_FILE).write_text(rows.replace('"seed": 0', '"seed": 5'))
    policy_path(other / "seeds", 0).rename(policy_path(other / "seeds", 5))
    pooled = list(films._tested(find_runs([test_run.parent]).tests))
    assert [(s.run.name, s.seed) for s in pooled] == [("others", 1)]  # -1300, -1200, -1200, -900
    assert "the median of 4 agents" in pooled[0].title
    with (other / "config.yaml").open("a") as config:
        config.write("agent: {gamma: 0.5}\n")
    apart = list(films._tested(find_runs([test_run.parent]).tests))
    assert [s.run.name for s in apart] == ["others", "test"]
    assert "gamma=0.5" in apart[0].title


def test_a_population_is_shown_as_well(tmp_path: Path) -> None:
    run = shutil.copytree(GOLDEN / "cohort", tmp_path / "cohort")
    rows = [json.loads(line) for line in (run / METRICS_FILE).read_text().splitlines()]
    for row in rows:
        if row["kind"] == "agent":
            row |= {"episodes": 1, "return_mean": -100.0 * row["agent"]}
    (run / METRICS_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = make_report([run], tmp_path / "report").read_text()
    assert f"population cohort in {ENV}: agent " in text
    assert 'src="data:image/png;base64,' in text


def test_where_nothing_can_be_drawn_the_report_says_why_and_stands(
    test_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = {"w_out": np.zeros((4, 1), np.float32), "b_out": np.zeros(1, np.float32)}
    for seed in (0, 1):
        facts = facts_of("random", "InvertedPendulum-v5", seed, 100)
        KeptPolicy(facts, arrays).save(policy_path(test_run / "seeds", seed))
    monkeypatch.setenv("MUJOCO_GL", "nothing")
    text = make_report([test_run], test_run / "report").read_text()
    assert "data:image" not in text
    assert f"No pictures of {ENV}: environment: got" in text
    assert "MuJoCo needs libegl1" in text


def test_a_crash_while_drawing_is_told(test_run: Path) -> None:
    section = films.films_section(find_runs([test_run]), {})
    assert len(section.strips) == 1
    scene = films.Scene(test_run, ENV, 0, "")
    strips, reasons = films.drawn([scene], process="no.such.module")
    assert strips == []
    assert reasons == [f"No pictures of {ENV}: the process that draws ended with exit code 1"]
