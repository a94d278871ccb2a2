"""Environments that raise, hang or dawdle, under a whole population."""

from __future__ import annotations

import pytest

from metagenrl.runs.metrics_file import read_metrics

VICTIM = 1
ONE_OF_THREE = ["--agents", "3", "--envs", "Pendulum-v1"]  # and the faulty one, which is agent 1's


def agents_of(run, what: str) -> set[int]:
    """The agents that have events of this kind."""
    return {row.agent for row in read_metrics(run.folder).events if row.what == what}


def finished(run, steps: int) -> set[int]:
    """The agents that took all their steps."""
    return {row.agent for row in read_metrics(run.folder).agents if row.steps == steps}


def test_one_that_always_raises_costs_its_agent_and_nobody_else(run, faulty) -> None:
    run.start(*ONE_OF_THREE, "faulty:Raises-v0", "--steps", "200", "--max-restarts", "2").finish()
    assert agents_of(run, "failed") == {VICTIM}
    (failed,) = run.messages("failed")
    assert failed.startswith("failed after 2 restarts: EnvironmentFailed")
    assert "raised in 4 episodes in a row: OSError" in failed
    assert "licence has expired" in failed
    log = (run.folder / "run.log").read_text()
    assert 'faulty.py", line' in log, "the original traceback is not in the log"
    assert "its episode is dropped: OSError" in log
    assert finished(run, 200) == {0, 2}
    (row,) = [row for row in read_metrics(run.folder).events if row.what == "failed"]
    assert run.contributors(row.round) == {0, 2}


def test_one_that_cannot_be_made_at_first_is_one_restart(run, faulty) -> None:
    run.start("--agents", "1", "--envs", "faulty:Balks-v0", "--steps", "100").finish()
    (restarted,) = run.messages("restarted")
    assert restarted.startswith("restarted (1/5) at step 0: ")
    assert "no licence is free" in restarted
    assert finished(run, 100) == {0}


def test_all_that_raise_end_the_run_with_an_error(run, faulty) -> None:
    words = ["--agents", "2", "--envs", "faulty:Raises-v0", "--steps", "300"]
    run.start(*words, "--max-restarts", "0").finish(code=1)
    assert agents_of(run, "failed") == {0, 1}


@pytest.mark.slow
def test_one_that_hangs_is_a_crash_after_the_deadline(run, faulty) -> None:
    words = ["--engine", "ray", "--round-timeout", "3", "--steps", "600"]
    run.start(*ONE_OF_THREE, "faulty:Hangs-v0", *words).finish()
    assert agents_of(run, "restarted") == {VICTIM}
    (restarted,) = run.messages("restarted")
    assert restarted.startswith("restarted (1/5) at step ")
    assert "no answer for " in restarted
    metrics = read_metrics(run.folder)
    assert finished(run, 600) == {0, 1, 2}
    without = [row for row in metrics.objective if row.contributors == 2]
    assert without, "the others waited for it"
    assert agents_of(run, "late") == {VICTIM}


@pytest.mark.slow
def test_a_straggler_is_late_and_its_gradient_is_stale(run, faulty, monkeypatch) -> None:
    monkeypatch.setenv("DAWDLE", "5")
    words = ["--engine", "ray", "--round-timeout", "3", "--steps", "300"]
    run.start(*ONE_OF_THREE, "faulty:Dawdles-v0", *words).finish()
    metrics = read_metrics(run.folder)
    assert run.messages("late")
    assert not run.messages("restarted"), "it was slow, not dead"
    assert metrics.objective[-1].stale >= len(run.messages("late")) > 0
    assert finished(run, 300) == {0, 1, 2}


@pytest.mark.slow
def test_with_a_quorum_nobody_waits_for_the_slow_one(run, faulty, monkeypatch) -> None:
    monkeypatch.setenv("DAWDLE", "2")
    words = ["--engine", "ray", "--staleness-bound", "4", "--quorum", "0.6", "--steps", "300"]
    run.start(*ONE_OF_THREE, "faulty:Dawdles-v0", *words).finish()
    metrics = read_metrics(run.folder)
    assert finished(run, 300) == {0, 1, 2}
    assert [row for row in metrics.objective if row.contributors == 2]
    assert not run.messages("late")
    assert max(row.lag for row in metrics.agents) > 0
