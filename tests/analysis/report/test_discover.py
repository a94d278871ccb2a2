"""Which folders count as runs, and what they are called."""

from pathlib import Path

from metagenrl.analysis.report.discover import find_runs
from metagenrl.runs.metrics_file import MetricsWriter
from metagenrl.runs.rows import EvaluationRow


def test_runs_below_a_folder_are_found_and_told_apart(train_run, new_agents, tmp_path) -> None:
    one, two = train_run("a/run"), train_run("b/run")
    tests = [new_agents("a/run/tests/E/td3", "E", [{0: 1.0}]), new_agents("td3", "E", [{0: 1.0}])]
    (tmp_path / "a/run/checkpoints/x").mkdir(parents=True)
    (tmp_path / "a/run/checkpoints/x/config.yaml").write_text("envs: [E]\n")
    runs = find_runs([tmp_path])
    assert [(run.path, run.name) for run in runs.training] == [(one, "a/run"), (two, "b/run")]
    assert sorted(test.path for test in runs.tests) == sorted(tests)


def test_a_folder_that_is_named_twice_counts_once(train_run, tmp_path) -> None:
    folder = train_run("run")
    assert len(find_runs([folder, tmp_path, tmp_path / "x" / ".." / "run"]).training) == 1


def test_what_this_program_cannot_read_is_named(train_run, tmp_path: Path) -> None:
    strange = train_run("strange")
    (strange / "config.yaml").write_text("envs: [E]\nunheard_of: 1\n")
    train_run("run")
    runs = find_runs([tmp_path])
    assert [run.name for run in runs.training] == ["run"]
    assert "unheard_of" in runs.damaged[strange]


def test_a_test_that_still_runs_shows_what_it_has(new_agents) -> None:
    folder = new_agents("td3", "E", [])
    (folder / "evaluations.jsonl").unlink(missing_ok=True)
    (folder / "seeds").mkdir()
    row = EvaluationRow("td3", "E", 0, 10, 5.0, (5.0,))
    MetricsWriter(folder / "seeds" / "seed-0.jsonl").write([row])
    (test,) = find_runs([folder]).tests
    assert test.rows() == [row]
    assert (test.env, test.rule, test.steps, test.version) == ("E", "td3", 100, None)
