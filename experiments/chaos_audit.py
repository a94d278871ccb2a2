"""What must hold after chaos: each check by name, with what was found."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metagenrl.cluster.parts import learning_rate
from metagenrl.objective_server.state import ServerState
from metagenrl.objective_server.store.in_redis import RedisStore
from metagenrl.objective_server.store.interface import Store
from metagenrl.objective_server.store.open import open_store
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import build
from metagenrl.runs.config.yaml_file import load_mapping
from metagenrl.runs.metrics_file import Metrics, read_metrics
from metagenrl.runs.names import IDENTITY_FILE

Identity = tuple[int, int, int, int]  # agent, incarnation, round, version


@dataclass(frozen=True)
class Check:
    """One promise and whether it was kept."""

    promise: str
    kept: bool
    found: str


def audit(run_dir: Path, broken_promises: list[str], finished: bool) -> list[Check]:
    """All checks of a run that has ended."""
    metrics = read_metrics(run_dir)
    config = build(TrainConfig, load_mapping(run_dir / "config.yaml", "run"))
    run = json.loads((run_dir / IDENTITY_FILE).read_text())["id"]
    store = open_store(config.store, run, run_dir)
    stored = store.load()
    assert stored is not None
    state = ServerState.from_dict(stored, learning_rate(config.meta, config.rounds))
    broken = "; ".join(broken_promises)
    checks = [
        Check("the run reaches its goal", finished, "it did" if finished else "it did not"),
        Check("no checkpoint is lost, no resuming fails", not broken, broken or "as promised"),
        _versions(metrics),
        _adam(metrics, state),
        _counters(state),
        _finite(store, state),
        _once(metrics),
        _of_the_round_before(metrics),
        _accepted(metrics, state),
    ]
    return [*checks, _redis(config, run, state)] if config.store.is_redis else checks


def history(metrics: Metrics) -> list[list[Identity]]:
    """The gradients that made each version, oldest version first."""
    return [
        [(int(a), int(i), int(r), int(v)) for a, i, r, v in (key.split(".") for key in row.applied)]
        for row in metrics.objective
    ]


def _versions(metrics: Metrics) -> Check:
    versions = [row.version for row in metrics.objective]
    kept = versions == list(range(1, len(versions) + 1))
    return Check(
        "versions are 1, 2, 3 ... without gap or repeat", kept, f"{len(versions)} versions"
    )


def _adam(metrics: Metrics, state: ServerState) -> Check:
    rounds = len(metrics.objective)
    kept = state.adam.step == state.version == rounds
    found = f"Adam {state.adam.step}, version {state.version}, accepted rounds {rounds}"
    return Check("Adam's step = version = accepted rounds", kept, found)


def _counters(state: ServerState) -> Check:
    promise = "sent = accepted + rejected + in flight, for every agent"
    counters = state.counters()
    wrong = [
        agent
        for agent, c in counters.items()
        if c.sent != c.accepted + sum(c.rejected.values()) + c.in_flight
    ]
    sent = sum(c.sent for c in counters.values())
    return Check(promise, not wrong, f"{sent} sent, wrong for agents {wrong or 'none'}")


def _finite(store: Store, state: ServerState) -> Check:
    alphas = [state.alpha, *(store.snapshot(version).alpha for version in store.snapshots())]
    kept = all(bool(np.isfinite(alpha).all()) for alpha in alphas)
    return Check("every alpha is finite", kept, f"{len(alphas)} looked at")


def _once(metrics: Metrics) -> Check:
    counts = Counter(key for keys in history(metrics) for key in keys)
    twice = [key for key, count in counts.items() if count > 1]
    found = f"{len(counts)} identities, more than once: {twice[:5] or 'none'}"
    return Check("each gradient's identity is applied once", len(counts) > 0 and not twice, found)


def _of_the_round_before(metrics: Metrics) -> Check:
    """Synchronous mode: the staleness bound is 0."""
    stale = [
        key
        for row, keys in zip(metrics.objective, history(metrics), strict=True)
        for key in keys
        if key[2:] != (row.round, row.version - 1)
    ]
    found = f"stale: {stale[:5] or 'none'}"
    return Check("no gradient is older than the bound (0) allows", not stale, found)


def _accepted(metrics: Metrics, state: ServerState) -> Check:
    """The driver's history and the server's counters are kept by different processes."""
    applied = Counter(key[0] for keys in history(metrics) for key in keys)
    accepted = {agent: c.accepted for agent, c in state.counters().items() if c.accepted}
    found = f"history {dict(sorted(applied.items()))}, server {accepted}"
    return Check(
        "history and server agree on each agent's gradients", dict(applied) == accepted, found
    )


def _redis(config: TrainConfig, run: str, state: ServerState) -> Check:
    """The store is opened with an empty folder, so that everything comes from Redis."""
    with tempfile.TemporaryDirectory() as nothing:
        store = open_store(config.store, run, Path(nothing))
        assert isinstance(store, RedisStore)
        stored = store.load()
        assert stored is not None
        there = ServerState.from_dict(stored, learning_rate(config.meta, config.rounds))
    same = there.version == state.version and there.adam.step == state.adam.step
    kept = same and bool(np.isfinite(there.alpha).all())
    found = f"version {there.version}, Adam {there.adam.step}"
    return Check(
        "Redis holds the same state", kept and np.array_equal(state.alpha, there.alpha), found
    )
