"""Which Ray a run joins."""

from __future__ import annotations

import socket

import pytest
from ray._private import services

from metagenrl.cluster.engines import ray_cluster


@pytest.mark.parametrize("answers", [True, False])
def test_a_ray_that_was_killed_is_not_joined(answers: bool, monkeypatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(services, "find_bootstrap_address", lambda _: address)
        if not answers:
            server.close()
        assert ray_cluster._running_cluster() == (address if answers else None)


def test_a_named_cluster_is_taken_at_its_word(monkeypatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert ray_cluster._running_cluster() == "127.0.0.1:1"
