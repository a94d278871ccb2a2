"""What tracking costs: turns, arithmetic, and when rounds count. The runs are made up."""

from pathlib import Path

import pytest

from benchmarks import tracking
from benchmarks.tracking import TrackedRun, TrackingOptions, Window, tracked_config, tracking_cost


def test_the_kinds_take_turns_and_pairs_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {"disabled": [30.0, 20.0, 40.0], "offline": [29.0, 20.0, 32.0]}
    order = []

    def run(kind: str, seconds: float) -> TrackedRun:
        order.append(kind)
        return TrackedRun(rates[kind].pop(0), 0.01 * len(order), 1.0)

    monkeypatch.setattr(tracking, "_in_own_process", run)
    cost = tracking_cost(1.0, pairs=3)
    assert order == ["disabled", "offline", "offline", "disabled", "disabled", "offline"]
    assert cost.rounds_per_s == 30.0
    assert cost.slower_percent == pytest.approx(100 / 29)
    assert (cost.slower_percent_min, cost.slower_percent_max) == pytest.approx((0.0, 25.0))
    assert (cost.handover_percent, cost.trackers_percent) == (0.06, 1.0)


def test_rounds_count_from_when_the_run_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that moves a second a look; two looks until the run is ready."""
    now = [0.0]

    def clock() -> float:
        now[0] += 1.0
        return now[0]

    monkeypatch.setattr(tracking.time, "monotonic", clock)
    monkeypatch.setattr(tracking.time, "perf_counter", clock)
    monkeypatch.setattr(tracking, "_trackers_cpu", lambda: now[0] / 10)
    window = Window(5.0, lambda rounds: rounds == 2)
    hand_over = window.timed(lambda word: word * 2)
    assert [window() for _ in range(2)] == [True, True]
    assert hand_over("ab") == "abab"  # before the window: not counted
    assert window()
    hand_over("ab")
    going_on = [window() for _ in range(3)]
    assert going_on == [True, True, False]
    assert (window.rounds, window.wall, window.handover) == (3, 5.0, 1.0)
    assert window.trackers == pytest.approx(0.5)


def test_a_run_that_does_not_get_ready_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "READY_SECONDS", -1.0)
    with pytest.raises(RuntimeError, match="was not ready"):
        Window(5.0, lambda rounds: False)()


def test_what_is_measured_is_the_preset_with_the_most_rows(tmp_path: Path) -> None:
    config = tracked_config(TrackingOptions("offline"), tmp_path)
    assert (config.wandb, config.agents, config.log_every) == ("offline", 8, 200)
    assert config.agent.random_steps == config.agent.learning_starts
