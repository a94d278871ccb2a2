"""The meta-gradient in mixed precision points where the float64 one does."""

import statistics
from dataclasses import replace

from benchmarks.precision import cosines
from benchmarks.problem import preset_problem


def test_mixed_precision_keeps_the_direction(monkeypatch) -> None:
    monkeypatch.setattr("benchmarks.precision.WARM_UP_UPDATES", 30)
    problem = preset_problem("paper")
    agent = replace(problem.agent, hidden_units=160, batch_size=16)
    found = cosines(replace(problem, agent=agent))
    assert statistics.median(found["fp32"]) > 0.9999
    assert min(found["fp32"]) > 0.999  # a ReLU whose input rounds to its other side costs 6e-4
    assert 0.98 < statistics.mean(found["mixed"]) < 0.999999  # below 1: bfloat16 was used
