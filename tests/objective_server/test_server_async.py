from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fixtures.servers import check_invariants

from metagenrl.base.files.state_file import read_state, write_state
from metagenrl.objective_server.server import ObjectiveServer, ServerConfig
from metagenrl.objective_server.store.in_folder import FileStore


def _store(folder: Path) -> FileStore:
    folder.mkdir(exist_ok=True)
    return FileStore(folder)


def test_quorum_of_the_active_agents(make_server, make_gradient) -> None:
    server = make_server(staleness_bound=2, quorum=0.6)
    server.submit([make_gradient(0)])
    assert server.ready([0])
    assert not server.ready([0, 1, 2])  # ceil(0.6 * 3) = 2
    server.submit([make_gradient(9)])  # has left since: does not stand for another
    assert not server.ready([0, 1, 2, 3, 4])
    server.submit([make_gradient(1)])
    assert not server.ready([0, 1, 2, 3, 4])  # 2 of 5 < 0.6
    assert server.ready([0, 1, 2])
    server.submit([make_gradient(4)])
    assert server.ready([0, 1, 2, 3, 4])
    assert not server.ready([])
    closed = server.close_round(0, expected=[0, 1, 2, 3, 4])
    assert closed.report.contributors == (0, 1, 4, 9)
    assert closed.report.missing == (2, 3)


def test_quorum_is_not_raised_by_rounding(make_server, make_gradient) -> None:
    server = make_server(staleness_bound=2, quorum=0.07)
    for agent in range(7):
        assert not server.ready(range(100))
        server.submit([make_gradient(agent)])
    assert server.ready(range(100))  # 0.07 * 100 is 7.000000000000001 in floating point


def test_staleness_bound_is_never_exceeded(make_server, make_gradient) -> None:
    server = make_server(staleness_bound=2, quorum=0.5)
    for round_ in range(3):
        server.submit([make_gradient(0, round=round_, version=round_)])
        server.close_round(round_)
    assert server.version == 3
    assert server.submit([make_gradient(1, round=0, version=0)]) == ("stale",)
    assert server.submit([make_gradient(1, round=1, version=1)]) == (None,)
    assert server.close_round(3).report.contributors == (1,)
    check_invariants(server)


def test_a_late_gradient_enters_once_and_fills_the_agents_place(make_server, make_gradient) -> None:
    server = make_server(staleness_bound=1)
    server.submit([make_gradient(0)])
    server.close_round(0)
    late = make_gradient(1, [0, 4, 0])
    assert server.submit([late]) == (None,)
    assert server.submit([make_gradient(1, round=1, version=1)]) == ("duplicate",)
    server.close_round(1)
    assert server.submit([late]) == ("duplicate",)
    assert server.counters()[1].accepted == 1
    check_invariants(server)


def test_beyond_the_history_a_retry_is_refused_not_forgotten(make_server, make_gradient) -> None:
    # alpha does not move in empty rounds, so the version alone would let an old retry in.
    server = make_server(staleness_bound=1, history=4)
    g = make_gradient(0)
    server.submit([g])
    alpha = server.close_round(0).alpha
    for round_ in range(1, 10):
        assert server.submit([g]) == ("duplicate" if round_ <= 4 else "stale",), round_
        server.close_round(round_)
    assert server.version == 1
    assert server.broadcast().alpha.tobytes() == alpha.tobytes()
    check_invariants(server)


def test_memory_is_bounded(make_server, make_gradient) -> None:
    server = make_server(staleness_bound=1, history=4)
    for round_ in range(30):
        server.submit([make_gradient(0, round=round_, version=round_)])
        bad = make_gradient(1, [np.nan] * 3, round=round_, version=round_, incarnation=round_)
        server.submit([bad])
        server.close_round(round_)
    assert server.state_dict()["remembered"].shape == (2 * 4, 4)
    check_invariants(server)


def test_open_round_is_part_of_the_state(make_server, make_gradient, tmp_path) -> None:
    server = make_server(staleness_bound=1)
    server.submit([make_gradient(0)])
    write_state(tmp_path, "half", server.state_dict())
    copy = ObjectiveServer.from_state(
        read_state(tmp_path, "half"), 0.1, _store(tmp_path / "o"), ServerConfig(1)
    )
    check_invariants(copy)
    assert copy.submit([make_gradient(0)]) == ("duplicate",)
    for one in (server, copy):
        one.submit([make_gradient(1, [-1, 5, 0.25])])
    first, second = server.close_round(0), copy.close_round(0)
    assert first.alpha.tobytes() == second.alpha.tobytes()
    assert first.report.contributors == second.report.contributors == (0, 1)


def test_without_a_bound_the_open_round_only(make_server, make_gradient) -> None:
    server = make_server(quorum=0.5)
    server.submit([make_gradient(0)])
    assert server.ready([0, 1])
    server.close_round(0)
    assert server.submit([make_gradient(1)]) == ("stale",)
    with pytest.raises(ValueError, match="round: got 5, allowed: up to the open one, 1"):
        server.close_round(5)
