"""The measurement takes turns, and its report says what was measured."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import bench, machine, report, timing
from benchmarks.gemm import gemms
from benchmarks.measure import Row, Task
from benchmarks.problem import Problem


def test_contestants_take_turns() -> None:
    order: list[str] = []
    timings = timing.interleave(
        {name: lambda name=name: order.append(name) for name in "ab"}, 3, block_seconds=0
    )
    assert order == ["a"] * 3 + ["b"] * 3 + ["a", "b"] * 3  # warm-up first
    assert [len(t.samples) for t in timings.values()] == [3, 3]


@pytest.mark.parametrize(("clock", "reads"), [("wall", "perf_counter"), ("cpu", "thread_time")])
def test_short_calls_are_repeated_to_fill_a_block(
    monkeypatch: pytest.MonkeyPatch, clock: timing.Clock, reads: str
) -> None:
    """A clock that moves 2 ms a call: 5 calls fill 10 ms, and each still counts as 2 ms."""
    now, calls = [0.0], []

    def call() -> None:
        calls.append(1)
        now[0] += 0.002

    monkeypatch.setattr(timing.time, reads, lambda: now[0])
    result = timing.interleave({"a": call}, 2, 0.0099, clock)["a"]
    assert len(calls) == timing.WARM_UP_CALLS + 2 * 5
    assert result.samples == pytest.approx((2.0, 2.0))


def test_a_row_by_hand() -> None:
    """4 GFLOP at 100 GFLOP/s take 40 ms; a median of 50 ms comes to 80 % of that."""
    mine = timing.Timing.of([120.0, 90.0, 100.0]).per(2)
    row = Row("agent-step", 4e9, mine, timing.Timing.of([70.0, 90.0, 80.0]), is_step=True)
    values = report.row_values(row, 100.0)
    assert values["limit_ms"] == pytest.approx(40)
    assert (values["project"]["min_ms"], values["project"]["median_ms"]) == (45, 50)
    assert values["project"]["percent_of_limit"] == pytest.approx(80)
    assert values["reference"]["percent_of_limit"] == pytest.approx(50)
    assert values["project_over_reference"] == pytest.approx(0.625)
    assert values["project"]["agent_steps_per_s"] == pytest.approx(20)
    assert values["limit_agent_steps_per_s"] == pytest.approx(25)


def test_a_round_counts_as_its_steps() -> None:
    """2 agent-steps in 8 ms and 100 operations are 4 ms and 50 each."""
    one, other = timing.Timing.of([8.0]), timing.Timing.of([12.0])
    row = Task("agent-step", 100, lambda: None, lambda: None, steps=2).row(one, other)
    assert (row.flops, row.project.median, row.reference.median, row.is_step) == (50, 4, 6, True)
    update = Task("update", 100, lambda: None, lambda: None).row(one, other)
    assert (update.flops, update.project.median, update.is_step) == (100, 8, False)


def test_other_work_on_the_machine_is_noted() -> None:
    quiet = dataclasses.replace(machine.this_machine(), load_before=0.1)
    assert machine.contamination(quiet, 0.99) == []
    assert "load average" in machine.contamination(
        dataclasses.replace(quiet, load_before=1.2), 0.99
    )[0]  # fmt: skip
    assert "90%" in machine.contamination(quiet, 0.9)[0]


def test_bench_measures_and_writes_everything(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tiny: Problem,
) -> None:
    monkeypatch.setattr(bench, "preset_problem", lambda name: tiny)
    out = tmp_path / "new" / "benchmarks.json"
    assert (
        bench.main(
            ["--only", "updates", "--sizes", "small", "--repetitions", "1", "--out", str(out)]
        )
        == 0
    )
    written = json.loads(out.read_text())
    assert {"date", "machine", "notes", "repetitions"} <= set(written)
    assert written["machine"]["versions"]["torch"] == torch.__version__
    size = written["sizes"]["tiny"]
    rows = {row["task"]: row for row in size["rows"]}
    assert len(rows) == 6
    assert all(row[w]["median_ms"] > 0 for row in rows.values() for w in ("project", "reference"))
    assert rows["agent-step in Pendulum-v1"]["project"]["agent_steps_per_s"] > 0
    assert max(size["relative_differences_float64"].values()) < 1e-10
    assert written["gemm_limit_gflops"] == max(size["gemm_gflops"].values())
    printed = capsys.readouterr().out
    assert all(task in printed for task in rows)
    assert "too few to report" in printed
    assert out.with_suffix(".png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--repetitions", "0"], "repetitions"),
        (["--repetition", "3"], "did you mean"),
        (["--sizes", "large"], "sizes"),
        (["--only", "everything"], "only"),
        (["--seconds", "0"], "seconds"),
        (["--sizes", "small", "small"], "sizes"),
        (["--out", "."], "out"),
        (["--out", "/dev/null/benchmarks.json"], "/dev/null"),
    ],
)
def test_bad_input_is_refused_before_anything_is_measured(
    words: list[str], named: str, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr(bench, "measure", lambda *_: pytest.fail("measured"))
    assert bench.main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert named in line


def test_every_shape_is_multiplied_by_every_kernel(tiny: Problem) -> None:
    """The paper's hidden layer, 20 rows of 7 units, and the objective's 4 units on 20 pairs."""
    products = gemms(tiny)
    assert {g.shape for g in products} == {(2000, 350, 350), (20, 7, 7), (20, 4, 4)}
    for product in products:
        m, k, n = product.shape
        assert product.call().shape == (m, n)
        assert product.flops == 2 * m * k * n
