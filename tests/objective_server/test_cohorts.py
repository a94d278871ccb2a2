"""Cohorts' messages at the server: what agents' own messages would have done, in fewer."""

import numpy as np
import pytest
from fixtures.servers import check_invariants

from metagenrl.base.messages import average
from metagenrl.objective_server.config import ServerConfig
from metagenrl.objective_server.server import ObjectiveServer


class Kept:
    """A store in memory."""

    def __init__(self) -> None:
        self.state = None

    def load(self):
        return self.state

    def commit(self, state) -> None:
        self.state = state


ROWS = [[1, 2, 2], [0, 3, 4], [-2, 1, 2], [5, 0, 1], [1, 1, 1]]


def _population(make_gradient, **fields):
    return [make_gradient(a, row, environment="E", **fields) for a, row in enumerate(ROWS)]


@pytest.mark.parametrize("size", [2, 3, 5])
def test_a_round_does_not_depend_on_the_cohorts(make_server, make_gradient, size) -> None:
    alone, together = make_server(Kept()), make_server(Kept())
    for round_index in range(3):
        fields = {"round": round_index, "version": round_index}
        gradients = _population(make_gradient, **fields)
        for gradient in gradients:
            alone.submit([gradient])
        for first in range(0, 5, size):
            assert together.submit([average(gradients[first : first + size])]) == (None,)
        assert together.ready(range(5))
        one, other = alone.close_round(round_index), together.close_round(round_index, range(6))
    np.testing.assert_allclose(other.alpha, one.alpha, rtol=1e-6)
    assert other.report.contributors == (0, 1, 2, 3, 4)
    assert other.report.missing == (5,)
    assert other.report.gradient_norm == pytest.approx(one.report.gradient_norm, rel=1e-6)
    assert other.report.cosines.overall == pytest.approx(one.report.cosines.overall, rel=1e-5)
    assert together.counters() == alone.counters()
    check_invariants(together)


def test_a_retried_message_counts_once(make_server, make_gradient) -> None:
    server = make_server(Kept())
    message = average(_population(make_gradient))
    assert server.submit([message]) == (None,)
    assert server.submit([message]) == ("duplicate",)
    after = server.close_round(0).alpha
    assert server.submit([message]) == ("duplicate",)
    np.testing.assert_array_equal(server.close_round(1).alpha, after)
    assert {(c.sent, c.accepted, c.rejected["duplicate"]) for c in server.counters().values()} == {
        (3, 1, 2)
    }
    check_invariants(server)


def test_a_mean_that_holds_a_gradient_twice_is_refused_whole(make_server, make_gradient) -> None:
    server = make_server(Kept())
    gradients = _population(make_gradient)
    server.submit([gradients[1]])
    assert server.submit([average(gradients[:3])]) == ("duplicate",)
    report = server.close_round(0).report
    assert report is not None
    assert report.contributors == (1,)
    check_invariants(server)


def test_a_broken_member_is_quarantined_and_the_others_go_on(make_server, make_gradient) -> None:
    server = make_server(Kept(), quarantine_after=2)
    for round_index in range(3):
        fields = {"round": round_index, "version": round_index}
        sound = make_gradient(0, [1, 0, 0], environment="E", **fields)
        broken = make_gradient(1, [np.nan, 0, 0], environment="E", **fields)
        quarantined = server.broadcast().quarantined
        assert server.submit([average([sound, broken], quarantined)]) == (None,)
        broadcast = server.close_round(round_index)
        assert broadcast.version == round_index + 1
    assert broadcast.quarantined == {1: 0}
    counters = server.counters()
    assert (counters[0].accepted, counters[0].quarantined) == (3, False)
    assert counters[1].rejected["non_finite"] == 2
    assert counters[1].rejected["quarantined"] == 1
    # the next incarnation is free again
    born = make_gradient(1, [0, 1, 0], environment="E", round=3, version=3, incarnation=1)
    assert server.submit([average([born], server.broadcast().quarantined)]) == (None,)
    assert server.broadcast().quarantined == {}
    check_invariants(server)


def test_a_message_with_nothing_sound_is_refused(make_server, make_gradient) -> None:
    server = make_server(Kept())
    assert server.submit([average([make_gradient(2, [0, 0, 0])])]) == ("zero",)
    assert server.close_round(0).version == 0
    check_invariants(server)


def test_the_open_round_survives_a_restart(make_server, make_gradient) -> None:
    server = make_server(Kept())
    gradients = _population(make_gradient)
    server.submit([average(gradients[:3])])
    server.submit([gradients[3]])
    restored = ObjectiveServer.from_state(server.state_dict(), 0.1, Kept(), ServerConfig())
    assert restored.submit([average(gradients[:3])]) == ("duplicate",)
    np.testing.assert_array_equal(restored.close_round(0).alpha, server.close_round(0).alpha)


def test_an_open_round_of_the_first_format_is_read(make_server, make_gradient) -> None:
    server = make_server(Kept())
    gradient = make_gradient(3, [3, 0, 4])
    server.submit([gradient])
    state = server.state_dict()
    state["pending"] = {
        "3": {
            "agent": 3, "incarnation": 0, "round": 0, "version": 0,
            "environment": gradient.environment, "gradient": gradient.gradient,
        }
    }  # fmt: skip
    restored = ObjectiveServer.from_state(state, 0.1, Kept(), ServerConfig())
    assert restored.submit([gradient]) == ("duplicate",)
    np.testing.assert_array_equal(restored.close_round(0).alpha, server.close_round(0).alpha)
