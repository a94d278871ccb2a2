from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fixtures.servers import check_invariants

from metagenrl.objective_server.adam import Adam
from metagenrl.objective_server.server import ServerConfig
from metagenrl.objective_server.snapshots.errors import WrongGradientSize


def test_a_round_is_one_adam_step_along_the_mean(make_server, make_gradient) -> None:
    server = make_server()
    assert server.submit([make_gradient(1, [3, 0, -3])]) == (None,)
    assert server.submit([make_gradient(0, [1, 2, 3])]) == (None,)
    before = server.broadcast()
    after = server.close_round(0, expected=[0, 1, 2])
    mean = np.array([2, 1, 0], np.float32)
    wanted, _ = Adam.start(3, 0.1).update(np.array([1, 2, 3], np.float32), mean)
    assert after.alpha.tobytes() == wanted.tobytes()
    assert (after.version, after.round) == (1, 1)
    assert (after.report.contributors, after.report.missing) == ((0, 1), (2,))
    assert after.report.gradient_norm == pytest.approx(np.sqrt(5))
    # Adam's first step has size 0.1 in each coordinate with a gradient.
    assert after.report.update_norm == pytest.approx(0.1 * np.sqrt(2), rel=1e-5)
    # (1, 2, 3) . (3, 0, -3) = -6 over sqrt(14) * sqrt(18)
    assert after.report.cosines.overall == pytest.approx(-6 / np.sqrt(14 * 18))
    np.testing.assert_array_equal(before.alpha, [1, 2, 3])  # what was published stays
    check_invariants(server)


def test_published_alpha_cannot_be_written(make_server, make_gradient) -> None:
    server = make_server()
    with pytest.raises(ValueError, match="read-only"):
        server.broadcast().alpha[0] = 5
    values = np.ones(3, np.float32)
    server.submit([make_gradient(0, values)])
    values[:] = np.nan  # nor does a sender's buffer reach alpha after it was accepted
    assert np.isfinite(server.close_round(0).alpha).all()


def test_an_empty_round_moves_nothing(make_server, make_gradient) -> None:
    server = make_server()
    closed = server.close_round(0, expected=[4])
    assert (closed.version, closed.round, closed.report.applied) == (0, 1, False)
    np.testing.assert_array_equal(closed.alpha, [1, 2, 3])
    # A gradient of the closed round is late, although alpha is still the one it was taken at.
    assert server.submit([make_gradient(0)]) == ("stale",)
    assert server.submit([make_gradient(0, round=1)]) == (None,)
    assert server.close_round(1).version == 1
    check_invariants(server)


class _Nowhere:
    """A store that keeps nothing."""

    def load(self) -> None:
        return None

    def commit(self, state: object) -> None:
        """Forget it."""


def test_order_of_arrival_does_not_matter(make_server, make_gradient) -> None:
    rows = [[1, 1e18, 3], [1e18, -1e18, 1e17], [-1e18, 7, -1e17], [5, 1, 1], [2, 2, 2]]
    items = [make_gradient(agent, row) for agent, row in enumerate(rows)]
    results = set()
    for order in (items, items[::-1], [items[i] for i in (2, 0, 4, 1, 3)]):
        server = make_server(store=_Nowhere())
        for item in order:
            server.submit([item])
        closed = server.close_round(0)
        results.add((closed.alpha.tobytes(), closed.report.cosines.overall))
    assert len(results) == 1


def test_each_identity_is_applied_at_most_once(make_server, make_gradient) -> None:
    server = make_server()
    g = make_gradient(7)
    assert server.submit([g]) == (None,)
    assert server.submit([g]) == ("duplicate",)  # while the round is open
    alpha = server.close_round(0).alpha
    assert server.submit([g]) == ("duplicate",)  # and after it was applied
    assert server.close_round(1).alpha.tobytes() == alpha.tobytes()
    counters = server.counters()[7]
    assert (counters.sent, counters.accepted, counters.in_flight) == (3, 1, 0)
    assert counters.rejected["duplicate"] == 2
    check_invariants(server)


def test_one_gradient_an_agent_and_round(make_server, make_gradient) -> None:
    server = make_server()
    server.submit([make_gradient(7, [1, 0, 0])])
    second = server.submit([make_gradient(7, [0, 1, 0], incarnation=1)])
    assert second == ("duplicate",)
    assert server.counters()[7].in_flight == 1
    assert server.close_round(0).report.gradient_norm == pytest.approx(1.0)
    check_invariants(server)


def test_stale_and_future_gradients_are_counted_and_dropped(make_server, make_gradient) -> None:
    server = make_server()
    server.submit([make_gradient(0)])
    server.close_round(0)
    assert server.submit([make_gradient(1)]) == ("stale",)
    assert server.submit([make_gradient(1, round=1, version=0)]) == ("stale",)
    assert server.submit([make_gradient(1, round=1, version=2)]) == ("future",)
    assert server.submit([make_gradient(1, round=2, version=1)]) == ("future",)
    rejected = server.counters()[1].rejected
    assert (rejected["stale"], rejected["future"]) == (2, 2)
    assert not server.close_round(1).report.applied
    check_invariants(server)


def test_wrong_size_shows_both_and_is_not_counted(make_server, make_gradient) -> None:
    server = make_server()
    with pytest.raises(WrongGradientSize, match=r"agent 3 \(env-1\).*\(2,\).*\(3,\)"):
        server.submit([make_gradient(3, [1, 2])])
    g = make_gradient(3)
    with pytest.raises(WrongGradientSize, match="float64"):
        server.submit([replace(g, gradient=g.gradient.astype(np.float64))])
    with pytest.raises(ValueError, match="gradient's run: got 'other', allowed: r"):
        server.submit([make_gradient(3, run="other")])
    assert server.counters() == {}


@pytest.mark.parametrize(
    ("values", "reason"),
    [([np.nan, 0, 0], "non_finite"), ([np.inf, 0, 0], "non_finite"), ([0, 0, 0], "zero")],
)
def test_bad_gradients_are_rejected_by_name(
    values, reason, make_server, make_gradient, caplog
) -> None:
    server = make_server()
    assert server.submit([make_gradient(5, values)]) == (reason,)
    # A zero gradient is ordinary (an inner step that saturates the policy): no warning.
    warned = f"agent 5 (env-1): {reason} gradient rejected" in caplog.text
    assert warned == (reason == "non_finite")
    server.submit([make_gradient(6)])
    assert np.isfinite(server.close_round(0).alpha).all()
    check_invariants(server)


def _bad(server, make_gradient, round_: int, incarnation: int = 0) -> str | None:
    g = make_gradient(1, [np.nan] * 3, round=round_, incarnation=incarnation)
    (reason,) = server.submit([g])
    return reason


def test_quarantine_after_bad_ones_in_a_row(make_server, make_gradient, caplog) -> None:
    server = make_server(quarantine_after=2)
    assert _bad(server, make_gradient, 0) == "non_finite"
    assert _bad(server, make_gradient, 0) == "duplicate"  # a retry is not a second one
    server.close_round(0)
    assert server.submit([make_gradient(1, round=1)]) == (None,)  # ends the row
    server.close_round(1)
    for round_ in (2, 3):
        g = make_gradient(1, [np.inf, 0, 0], round=round_, version=1)
        assert server.submit([g]) == ("non_finite",)
        server.close_round(round_)
    assert "agent 1 (env-1): quarantined after 2 bad gradients" in caplog.text
    good = make_gradient(1, round=4, version=1)
    assert server.submit([good]) == ("quarantined",)
    assert server.counters()[1].quarantined
    check_invariants(server)


def test_zero_gradients_do_not_quarantine(make_server, make_gradient) -> None:
    """The agent is not broken: its policy saturates, or its next life has not begun to learn."""
    server = make_server(quarantine_after=2)
    for round_ in range(5):
        assert server.submit([make_gradient(1, [0, 0, 0], round=round_)]) == ("zero",)
        server.close_round(round_)
    assert server.submit([make_gradient(1, round=5)]) == (None,)


def test_a_newer_incarnation_is_not_quarantined(make_server, make_gradient) -> None:
    server = make_server(quarantine_after=1)
    _bad(server, make_gradient, 0, incarnation=2)
    assert server.submit([make_gradient(1, incarnation=1)]) == ("quarantined",)
    assert server.submit([make_gradient(1, incarnation=3)]) == (None,)
    assert not server.counters()[1].quarantined


@pytest.mark.parametrize(
    ("field", "value"),
    [("staleness_bound", -1), ("quorum", 0), ("quorum", 1.1), ("quarantine_after", 0)],
)
def test_configuration_is_validated(field, value) -> None:
    with pytest.raises(ValueError, match=f"{field}: got {value}"):
        ServerConfig(**{field: value})
    with pytest.raises(ValueError, match=r"history: got 3, allowed: 4"):
        ServerConfig(staleness_bound=3, history=3)


def test_invariants_notice_a_broken_state(make_server, make_gradient) -> None:
    server = make_server()
    server.submit([make_gradient(0)])
    server.close_round(0)
    state = server._state
    broken = [
        (replace(state, version=0), "Adam's step, version, round"),
        (replace(state, agents={0: state.agents[0]._replace(sent=5)}), "agent 0: sent"),
        (replace(state, adam=replace(state.adam, v=state.adam.v * np.inf)), "v is not finite"),
    ]
    for bad, message in broken:
        server._state = bad
        with pytest.raises(AssertionError, match=message):
            check_invariants(server)
