"""What the recorder writes of rounds whose report was lost with the server."""

import numpy as np
import pytest

from metagenrl.cluster.engines.exchange import Exchange
from metagenrl.cluster.recording.recorder import Recorder
from metagenrl.learner.types import AlphaGradient
from metagenrl.objective_server.answers import Broadcast, Totals
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.machine.identity import RunIdentity
from metagenrl.runs.metrics_file import read_metrics


@pytest.fixture
def recorder(tmp_path):
    config = TrainConfig(
        envs=("Pendulum-v1",), agents=2, run_dir=tmp_path, wandb="disabled", engine="inprocess"
    )
    recorder = Recorder(config, RunIdentity("r", 0.0, "m", {}), None)
    yield recorder
    recorder.close()


def _gradient(agent, values):
    vector = np.array(values, np.float32)
    return AlphaGradient("r", agent, 0, 4, 3, vector, float(np.linalg.norm(vector)), "Pendulum-v1")


def test_a_version_has_its_row_also_when_the_server_died_after_it(recorder, tmp_path):
    """The server restored knows version 4, and no report of the round that led to it."""
    gradients = [_gradient(0, [3, 0]), _gradient(1, [3, 8])]
    broadcast = Broadcast(4, 5, np.array([3.0, 4.0], np.float32), None)
    for _ in range(2):  # the same news twice is one row
        recorder.exchange(gradients, Exchange(broadcast, True, Totals(8, 3, 2, 1)))
    recorder.tick(0)
    (row,) = read_metrics(tmp_path).objective
    assert (row.version, row.round, row.contributors, row.alpha_norm) == (4, 4, 2, 5.0)
    assert row.gradient_norm == pytest.approx(5.0)  # of the mean (3, 4)
    assert row.cosine == pytest.approx(9 / (3 * 73**0.5))
    assert row.update_norm is None
    assert (row.accepted, row.rejected, row.stale, row.duplicate) == (8, 3, 2, 1)


def test_a_resumed_run_says_what_of_its_history_is_gone(tmp_path, caplog):
    config = TrainConfig(
        envs=("Pendulum-v1",), agents=2, run_dir=tmp_path, wandb="disabled", engine="inprocess",
        log_every=10, snapshot_every=5,
    )  # fmt: skip
    identity = RunIdentity("r", 0.0, "m", {})
    first = Recorder(config, identity, None)
    saved = first.state_dict() | {"steps": [40, 40]}
    first.close()
    (tmp_path / "metrics.jsonl").write_text('{"kind": "age')
    population = {"roster": {"0": {}, "1": {}}, "recorder": saved, "round": 20, "version": 6}
    Recorder(config, identity, {"population": population}).close()
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "metrics.jsonl: the rows before round 20 are gone",
        "objectives/: the snapshots before version 6 are gone",
    ]
    caplog.clear()
    (tmp_path / "objectives").mkdir()
    (tmp_path / "metrics.jsonl").write_text("")
    population["recorder"] = saved | {"steps": [20, 20]}  # none is due before 10 steps are over
    Recorder(config, identity, {"population": population}).close()
    assert not caplog.records


def test_a_run_without_a_gradient_of_use_says_so(recorder):
    """Where its agents have begun to learn; one that is accepted is enough."""
    alpha = np.array([3.0, 4.0], np.float32)
    recorder.exchange([], Exchange(Broadcast(0, 5, alpha, None), True, Totals(0, 9, 1, 2)))
    assert recorder.fruitless() is None
    recorder._steps[:] = [100_000, 0]
    said = (
        "note: no gradient was accepted (6 were zero or not finite): the objective is as it began"
    )
    assert recorder.fruitless() == said
    recorder.exchange([], Exchange(Broadcast(1, 6, alpha, None), True, Totals(1, 9, 1, 2)))
    assert recorder.fruitless() is None


def test_snapshots_and_the_machine_have_their_rows(recorder, tmp_path):
    """A snapshot of a version that is there is not written again."""
    broadcast = Broadcast(4, 5, np.array([3.0, 4.0], np.float32), None)
    first = recorder.snapshot(broadcast)
    assert recorder.snapshot(broadcast) is first
    recorder.tick(0, held_out_waiting=3)
    recorder.tick(0)
    metrics = read_metrics(tmp_path)
    (row,) = metrics.snapshots
    assert (row.version, row.file) == (4, "objectives/objective-00000004.safetensors")
    assert ObjectiveSnapshot.load(tmp_path / row.file).checksum == first.checksum
    (machine,) = metrics.system  # the second tick was too soon for another
    assert (machine.held_out_waiting, machine.lag_max) == (3, 0)
    assert machine.rss >= machine.rss_driver > 10_000_000
