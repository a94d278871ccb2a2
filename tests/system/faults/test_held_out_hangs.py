"""Held-out tests in environments that hang, in processes as a run starts them."""

from __future__ import annotations

import functools
import time
from pathlib import Path

import pytest

from metagenrl.cluster.held_out import tests as held_out_module
from metagenrl.cluster.held_out.tests import HeldOut
from metagenrl.cluster.held_out.trials import trials
from metagenrl.learner.hyperparams import AgentConfig, ObjectiveConfig
from metagenrl.learner.objective.net import first_alpha
from metagenrl.meta_test.pool import TraineePool
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.runs.config.held_out import HeldOutOptions
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import to_dict
from metagenrl.runs.rows import EventRow, MetricsRow, Moment
from metagenrl.runs.run_records import HeldOutRow, ScoreRow
from metagenrl.tracking.values import ValueTable

AGENT = AgentConfig(
    hidden_units=8, batch_size=4, segment_length=4, random_steps=20, learning_starts=10,
    replay_capacity=500,
)  # fmt: skip
ARCHITECTURE = ObjectiveConfig(lstm_units=4, hidden_units=4, input_features=2)


def config(run_dir: Path, *envs: str) -> TrainConfig:
    held_out = HeldOutOptions(
        eval_envs=envs, eval_seeds=1, eval_steps=30, eval_episodes=1, eval_timeout=1.5
    )
    return TrainConfig(
        run_dir=run_dir, agent=AGENT, objective=ARCHITECTURE, held_out=held_out, wandb="disabled"
    )


@pytest.fixture(autouse=True)
def few_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out_module, "TRIES", 2)
    monkeypatch.setattr(held_out_module, "POLL_SECONDS", 0.1)


def rows_of_tests(settings: TrainConfig, start_timeout: float) -> list[MetricsRow]:
    """The rows of all tests of one version."""
    rows = list[MetricsRow]()
    (settings.run_dir / "objectives").mkdir(parents=True)
    pool = TraineePool(3)
    held_out = HeldOut(
        settings.run_dir, settings.held_out,
        functools.partial(
            trials, settings.held_out, settings.agent, settings.objective, start_timeout
        ),
        pool, rows.append, lambda: Moment(1.0, 7, 7),
    )  # fmt: skip
    alpha = first_alpha(settings.objective, settings.seed).numpy()
    held_out.request(ObjectiveSnapshot(alpha, 7, to_dict(settings.objective), ("E",), 14, "r"))
    deadline = time.monotonic() + 300.0

    def bounded(left: int) -> None:
        assert time.monotonic() < deadline, f"{left} tests never end"

    try:
        held_out.finish(bounded)
        assert pool.outstanding == 0
    finally:
        held_out.close()
    return rows


SLOW = """
import time
time.sleep(SECONDS)
import gymnasium
from gymnasium.envs.classic_control.pendulum import PendulumEnv
gymnasium.register("E-v0", PendulumEnv, max_episode_steps=200)
"""


def test_the_clock_of_a_test_begins_when_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Importing has a bound of its own: 3 s are more than a step may take, an hour is too long."""
    for name, seconds in (("slow", 3.0), ("endless", 3600.0)):
        (tmp_path / f"{name}.py").write_text(SLOW.replace("SECONDS", str(seconds)))
    monkeypatch.syspath_prepend(tmp_path)
    rows = rows_of_tests(config(tmp_path / "run", "slow:E-v0", "endless:E-v0"), 12.0)
    events = [row.message for row in rows if isinstance(row, EventRow)]
    assert len(events) == 2, events  # begun anew, given up
    for message in events:
        assert "endless:E-v0" in message
        assert "hangs in <module> (endless.py:3): not begun after 12 s" in message
    (other,) = [row for row in rows if isinstance(row, HeldOutRow)]
    assert (other.env, other.steps) == ("slow:E-v0", 30)


def test_those_that_hang_cost_their_version_and_no_other_test(
    tmp_path: Path, faulty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sleeps, one is in C code that keeps Python's lock; the run's end waits for neither."""
    monkeypatch.syspath_prepend(faulty)
    stuck, seized = "faulty:Stuck-v0", "faulty:Seized-v0"
    rows = rows_of_tests(config(tmp_path / "run", stuck, seized, "Pendulum-v1"), 60.0)

    events = [row for row in rows if isinstance(row, EventRow)]
    assert sorted(row.what for row in events) == ["test given up"] * 2 + ["test restarted"] * 2
    said = {env: [row.message for row in events if env in row.message] for env in (stuck, seized)}
    for message in said[stuck]:
        assert message.startswith(f"learned objective v7 in {stuck}, seed 10000: TimeoutError: ")
        assert "hangs in stuck (faulty.py:" in message
        assert "no step for 1.5 s" in message
    assert [message.rpartition(": ")[2] for message in said[seized]] == [
        "its process hung and was ended; begun anew (1/1)",
        "its process hung and was ended; given up",
    ]
    (other,) = [row for row in rows if isinstance(row, HeldOutRow)]
    assert (other.env, other.steps) == ("Pendulum-v1", 30)
    (score,) = [row for row in rows if isinstance(row, ScoreRow)]
    assert (score.version, score.score) == (7, None)
    assert score.return_by_env == {"Pendulum-v1": other.return_mean}
    assert ValueTable(2).values(rows)["heldout/given_up"] == 2.0
