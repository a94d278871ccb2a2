"""Evolution strategies on whole lives: what moves, by what; it goes on where it was cut."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import whole_lives

from metagenrl.objective_server.snapshots.find import find_snapshot
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot


def test_one_layer_moves_by_its_own_size() -> None:
    evolved = whole_lives.Evolved(ObjectiveSnapshot.load(find_snapshot(Path("pretrained"))))
    before, size = evolved.first.alpha, len(evolved.layer)
    after = evolved.alpha(np.full(size, 2, np.float32))
    moved = np.flatnonzero(after != before)
    assert moved.tolist() == evolved.layer.tolist()
    rms = np.sqrt(np.mean(np.square(before[moved])))
    np.testing.assert_allclose(after[moved] - before[moved], 2 * rms, rtol=1e-4)


def test_environments_weigh_the_same_whatever_their_rewards() -> None:
    pairs = [("a", 3.0, 0.0), ("b", 0.0, 300.0), ("a", 0.0, 3.0), ("c", 1.0, 1.0)]
    rows = [{"env": env, "plus": plus, "minus": minus} for env, plus, minus in pairs]
    assert whole_lives.scores(rows).tolist() == [1.0, -1.0, -1.0, 0.0]


def test_it_runs_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [
        *("x", "pretrained", str(tmp_path), "--envs", "Pendulum-v1", "--others", "Reacher-v5"),
        *("--steps", "300", "--episodes", "1", "--agents", "1", "--along", "0,2", "--workers", "1"),
    ]
    monkeypatch.setattr(sys, "argv", [*words, "--generations", "2"])
    whole_lives.main()
    file = tmp_path / "rows.jsonl"
    whole = file.read_text()
    rows = [json.loads(line) for line in whole.splitlines()]
    assert [len(row) for row in rows] == [4] * 6
    file.write_text("".join(whole.splitlines(keepends=True)[:1]))
    whole_lives.main()
    assert file.read_text() == whole
    start, moved = (
        ObjectiveSnapshot.load(tmp_path / f"along-{a}.safetensors").alpha for a in (0, 2)
    )
    assert np.array_equal(start, ObjectiveSnapshot.load(find_snapshot(Path("pretrained"))).alpha)
    assert np.count_nonzero(moved != start) == 32
