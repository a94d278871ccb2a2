"""Crashes, retries, failing stores, threads: nothing applied twice, nothing acknowledged lost."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fixtures.servers import check_invariants

from metagenrl.objective_server.server import ObjectiveServer, ServerConfig
from metagenrl.objective_server.store.address import StoreAddress
from metagenrl.objective_server.store.in_folder import FileStore
from metagenrl.objective_server.store.open import open_server


def _store(folder: Path) -> FileStore:
    folder.mkdir(exist_ok=True)
    return FileStore(folder)


class Flaky(FileStore):
    """A store that fails before, or crashes just after, the next commit."""

    fail_before = fail_after = False

    def commit(self, state) -> None:
        if self.fail_before:
            raise OSError(28, "No space left on device")
        super().commit(state)
        if self.fail_after:
            raise RuntimeError("killed")


def test_failed_commit_changes_nothing_and_can_be_retried(
    make_server, make_gradient, tmp_path
) -> None:
    store = Flaky(tmp_path)
    server = make_server(store=store)
    server.submit([make_gradient(0)])
    before, counters = server.broadcast(), server.counters()
    store.fail_before = True
    with pytest.raises(OSError, match="No space left"):
        server.close_round(0)
    after = server.broadcast()
    assert (after.version, after.round) == (before.version, before.round) == (0, 0)
    assert after.alpha is before.alpha
    assert server.counters() == counters
    assert FileStore(tmp_path).load()["version"] == 0
    check_invariants(server)
    store.fail_before = False
    assert server.close_round(0).report.contributors == (0,)
    assert FileStore(tmp_path).load()["version"] == 1
    check_invariants(server)


def test_killed_between_commit_and_answer(make_server, make_gradient, tmp_path) -> None:
    reference = make_server(store=_store(tmp_path / "reference"))
    reference.submit([make_gradient(0)])
    wanted = reference.close_round(0).alpha.tobytes()

    (tmp_path / "run").mkdir()
    store = Flaky(tmp_path / "run")
    server = make_server(store=store)
    server.submit([make_gradient(0)])
    store.fail_after = True
    with pytest.raises(RuntimeError, match="killed"):
        server.close_round(0)
    del server
    restarted = make_server(store=_store(tmp_path / "run"))
    assert (restarted.version, restarted.round) == (1, 1)
    # The driver got no answer, so it sends everything again.
    assert restarted.submit([make_gradient(0)]) == ("duplicate",)
    again = restarted.close_round(0)
    assert (again.version, again.round) == (1, 1)
    assert again.alpha.tobytes() == wanted
    check_invariants(restarted)


def test_killed_before_commit_loses_only_the_open_round(make_server, make_gradient) -> None:
    server = make_server()
    server.submit([make_gradient(0)])
    acknowledged = server.close_round(0)
    server.submit([make_gradient(0, round=1, version=1)])
    del server
    restarted = make_server()
    assert restarted.broadcast().alpha.tobytes() == acknowledged.alpha.tobytes()
    assert restarted.submit([make_gradient(0, round=1, version=1)]) == (None,)
    assert restarted.close_round(1).version == 2
    assert restarted.counters()[0].accepted == 2
    check_invariants(restarted)


def test_restarts_do_not_change_the_result(make_server, make_gradient, tmp_path) -> None:
    values = np.random.default_rng(0).normal(size=(8, 2, 3))

    def play(folder: str, restart: bool) -> bytes:
        server = make_server(store=_store(tmp_path / folder))
        for round_, pair in enumerate(values):
            if restart:
                server = make_server(store=_store(tmp_path / folder))
            for agent, g in enumerate(pair):
                server.submit([make_gradient(agent, g, round=round_, version=round_)])
            server.close_round(round_)
        check_invariants(server)
        return server.broadcast().alpha.tobytes()

    assert play("a", restart=False) == play("b", restart=True)


def test_state_survives_with_quarantine_and_counters(make_server, make_gradient) -> None:
    server = make_server(quarantine_after=1)
    server.submit([make_gradient(1, [np.nan] * 3)])
    server.submit([make_gradient(0)])
    server.close_round(0)
    restarted = make_server(quarantine_after=1)
    assert restarted.counters() == server.counters()
    g = make_gradient(1, round=1, version=1)
    assert restarted.submit([g]) == ("quarantined",)


def test_the_store_of_another_run_or_of_none_is_refused(make_server, tmp_path) -> None:
    address, rest = StoreAddress(), (0.1, ServerConfig())
    with pytest.raises(RuntimeError, match="the objective server's state is gone"):
        open_server(address, tmp_path, "r", *rest)
    make_server()
    with pytest.raises(RuntimeError, match="holds the objective of run r, not q"):
        open_server(address, tmp_path, "q", *rest)
    assert open_server(address, tmp_path, "r", *rest).version == 0


def test_going_back_to_a_checkpoint(make_server, make_gradient, tmp_path) -> None:
    server = make_server()
    server.submit([make_gradient(0)])
    server.close_round(0)
    checkpoint = server.state_dict()
    server.submit([make_gradient(0, round=1, version=1)])
    server.close_round(1)
    resumed = ObjectiveServer.from_state(checkpoint, 0.1, FileStore(tmp_path), ServerConfig())
    FileStore(tmp_path).commit(checkpoint)
    assert FileStore(tmp_path).load()["version"] == 1
    resumed.submit([make_gradient(0, round=1, version=1)])
    assert resumed.close_round(1).alpha.tobytes() == server.broadcast().alpha.tobytes()
    assert FileStore(tmp_path).load()["version"] == 2


def test_many_threads_submit_and_close(make_server, make_gradient, tmp_path) -> None:
    agents, rounds = 8, 12
    values = np.random.default_rng(0).normal(size=(rounds, agents, 3))
    server = make_server()
    barrier = threading.Barrier(agents)
    versions: list[list[int]] = [[] for _ in range(agents)]

    def play(agent: int) -> None:
        for round_ in range(rounds):
            g = make_gradient(agent, values[round_, agent], round=round_, version=round_)
            for _ in range(3):  # everyone sends everything three times
                server.submit([g])
                versions[agent].append(server.version)
            barrier.wait(timeout=60)
            versions[agent].append(server.close_round(round_, range(agents)).version)
            barrier.wait(timeout=60)

    with ThreadPoolExecutor(agents) as pool:
        list(pool.map(play, range(agents)))
    check_invariants(server)
    assert server.version == rounds
    for agent, counters in server.counters().items():
        assert (counters.sent, counters.accepted) == (3 * rounds, rounds), agent
        assert versions[agent] == sorted(versions[agent])

    alone = make_server(store=_store(tmp_path / "alone"))
    for round_ in range(rounds):
        for agent in range(agents):
            alone.submit(
                [make_gradient(agent, values[round_, agent], round=round_, version=round_)]
            )
        alone.close_round(round_)
    assert alone.broadcast().alpha.tobytes() == server.broadcast().alpha.tobytes()
