"""The meta-gradient in mixed precision points where the float64 one does."""

from dataclasses import replace

from benchmarks.precision import nearness
from benchmarks.problem import preset_problem


def test_mixed_precision_keeps_the_direction(monkeypatch) -> None:
    monkeypatch.setattr("benchmarks.precision.WARM_UP_UPDATES", 30)
    problem = preset_problem("paper")
    agent = replace(problem.agent, hidden_units=160, batch_size=16)
    found = nearness(replace(problem, agent=agent))
    assert found.fp32 > 0.999  # a ReLU whose input rounds to its other side costs 6e-4 of a pair
    assert 0.98 < found.mixed < 0.999999  # below 1: bfloat16 was used
