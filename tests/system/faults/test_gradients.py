"""An agent whose meta-gradients are not finite, on its way from its actor to the display."""

from __future__ import annotations

import numpy as np
import pytest

from metagenrl.objective_server.agent_table import agents_of
from metagenrl.objective_server.store.in_folder import FileStore
from metagenrl.runs.metrics_file import read_metrics

K = 3  # bad gradients in a row, the default


@pytest.mark.slow
def test_its_gradients_are_refused_and_it_is_quarantined(run, faulty) -> None:
    words = ["--agents", "3", "--envs", "Pendulum-v1", "faulty:Poisons-v0", "--engine", "ray"]
    out = run.start(*words, "--steps", "300").finish()
    rejected = run.messages("rejected")
    first = int(rejected[0].split("for round ")[1].split()[0])
    assert rejected == [
        f"(faulty:Poisons-v0): gradient for round {first + n} rejected: non_finite"
        for n in range(K)
    ]
    (quarantined,) = run.messages("quarantined")
    assert quarantined == "(faulty:Poisons-v0): quarantined, 3 gradients in a row were not finite"
    for message in (*rejected, quarantined):
        assert f"agent 1 {message}" in out
    metrics = read_metrics(run.folder)
    assert {row.agent: row.state for row in metrics.agents} == {
        0: "learning", 1: "quarantined", 2: "learning",
    }  # fmt: skip
    assert {row.agent for row in metrics.agents if row.steps == 300} == {0, 1, 2}
    assert not run.messages("restarted")

    rounds = [row.round for row in metrics.objective for key in row.applied if key[:2] == "1."]
    assert rounds
    assert max(rounds) < first
    assert [row.version for row in metrics.objective][-1] == len(metrics.objective) > 2 * first
    state = FileStore(run.folder).load()
    assert np.isfinite(state["alpha"]).all()
    record = agents_of(state["agents"])[1]._asdict()
    assert (record["non_finite"], record["accepted"]) == (K, len(rounds))
    refused = ("stale", "duplicate", "future", "non_finite", "zero", "quarantined")
    assert record["sent"] == record["accepted"] + sum(record[reason] for reason in refused)
    assert record["quarantined"] == 150 - first - K, "it was asked in vain for a round"
