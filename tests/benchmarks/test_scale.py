"""The simulation with stub agents."""

from __future__ import annotations

from benchmarks.scale import measure_scale


def test_stub_agents_rounds_are_applied_and_their_cost_is_counted() -> None:
    cost = measure_scale(agents=3, rounds=2)  # raises where a round is not applied
    assert cost.agents == 3
    assert cost.driver_ms > 0
    assert cost.server_ms > 0
    assert 0.3 < cost.megabytes < 0.4
