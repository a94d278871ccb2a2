"""What watching a run changes: nothing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.runs.metrics_file import read_metrics


def test_nothing_that_watches_changes_a_bit(
    plain: Path, tracked: Path, last: Callable[[Path], ObjectiveSnapshot]
) -> None:
    assert np.array_equal(last(plain).alpha, last(tracked).alpha)
    alone, watched = read_metrics(plain), read_metrics(tracked)
    assert [(r.agent, r.steps, r.return_mean, r.q) for r in alone.agents] == [
        (r.agent, r.steps, r.return_mean, r.q) for r in watched.agents
    ]
    assert [(r.version, r.gradient_norm) for r in alone.objective] == [
        (r.version, r.gradient_norm) for r in watched.objective
    ]


def test_nothing_to_watch_leaves_nothing_behind(plain: Path) -> None:
    assert not {"wandb", "tensorboard", "held_out"} & {path.name for path in plain.iterdir()}
    metrics = read_metrics(plain)
    assert (metrics.held_out, metrics.scores) == ([], [])
    assert metrics.system[-1].rss > metrics.system[-1].rss_driver * 0.9
