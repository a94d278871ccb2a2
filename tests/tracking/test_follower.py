"""Following a file that grows, in this process and in a real one that loses its driver."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import psutil
import pytest

from metagenrl.runs.config.train import TrackingOptions, TrainConfig
from metagenrl.runs.metrics_file import MetricsWriter
from metagenrl.runs.names import METRICS_FILE
from metagenrl.runs.row_codec import to_line
from metagenrl.runs.rows import AgentRow, EventRow, MetricsRow, ObjectiveRow
from metagenrl.runs.run_records import ScoreRow, SnapshotRow
from metagenrl.tracking import follower
from metagenrl.tracking.follower import Follower
from metagenrl.tracking.follower_job import FollowerJob
from metagenrl.tracking.trackers import Tracking

AGENT = AgentRow(
    time=1.0, round=10, version=10, agent=0, env="E", incarnation=0, steps=20, life=0,
    life_steps=20, state="learning", episodes=1, return_mean=-3.0, return_last=None,
    episode_length=None, q=0.5, td_loss=None, objective_loss=None, policy_gradient_norm=None,
    gradient_norm=80.0, value_after=None, lag=0, restarts=0,
)  # fmt: skip
OBJECTIVE = ObjectiveRow(
    time=1.0, round=10, version=10, contributors=2, gradient_norm=0.5, update_norm=0.1,
    alpha_norm=18.0, cosine=None, cosine_by_env={}, accepted=9, rejected=0, stale=0, duplicate=0,
    agent_steps=40, agent_steps_per_s=100.0,
)  # fmt: skip
SNAPSHOT = SnapshotRow(1.0, 10, 10, "objectives/x", 40)
SCORE = ScoreRow(1.0, 12, 10, 40, 8.0, {"F": 8.0}, 10, 8.0, "mean return")


class Shown:
    """A tracker that only remembers."""

    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.snapshots: list[int] = []
        self.scores: list[int] = []
        self.remembered = 0
        self.finished = False

    def log(self, values: dict[str, float], step: int) -> None:
        self.logged.append((step, values))

    def snapshot(self, row: SnapshotRow) -> None:
        self.snapshots.append(row.version)

    def score(self, row: ScoreRow) -> None:
        self.scores.append(row.version)

    def remember(self, rows: list[MetricsRow]) -> None:
        self.remembered += len(rows)

    def finish(self) -> None:
        self.finished = True

    @property
    def steps(self) -> list[int]:
        return [step for step, _ in self.logged]


def job(run_dir: Path) -> FollowerJob:
    (run_dir / "wandb").mkdir(exist_ok=True)
    return FollowerJob("wandb", str(run_dir), "run-1", 2, {})


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[MetricsWriter]:
    writer = MetricsWriter(tmp_path / METRICS_FILE)
    yield writer
    writer.close()


def test_a_job_fits_on_a_line() -> None:
    wanted = FollowerJob("wandb", "/r", "run\n1", 3, {"meta": {"lifetime": 5}}, "online", True)
    assert "\n" not in wanted.to_json()
    assert FollowerJob.from_json(wanted.to_json()) == wanted


def test_versions_are_thinned_out_and_nothing_else_is() -> None:
    rows: list[MetricsRow] = [replace(OBJECTIVE, version=v) for v in range(1, 21)]
    found = follower.shown([*rows, EventRow(1.0, 9, "late", 1, "x")])
    versions = [row.version for row in found if isinstance(row, ObjectiveRow)]
    assert versions == [follower.OBJECTIVE_EVERY, 2 * follower.OBJECTIVE_EVERY]
    assert len(found) == 3


def test_steps_are_rounds_and_every_score_has_its_own(
    tmp_path: Path, writer: MetricsWriter
) -> None:
    shown = Shown()
    following = Follower(job(tmp_path), shown)
    writer.write([AGENT, replace(AGENT, agent=1), OBJECTIVE, replace(AGENT, round=15)])
    following.catch_up()
    assert shown.steps == [10, 15]
    assert shown.logged[0][1]["agent/01/return"] == -3.0
    assert shown.logged[0][1]["meta/gradient_norm"] == 0.5
    # A run's last tests end when no round is open any more: the step goes on by itself.
    writer.write([replace(SCORE, round=15), replace(SCORE, round=15, version=20)])
    following.catch_up()
    assert shown.steps == [10, 15, 16, 17]
    assert [values["heldout/version"] for _, values in shown.logged[2:]] == [10, 20]
    assert shown.scores == [10, 20]


def test_a_resumed_run_is_shown_from_where_the_last_one_was(
    tmp_path: Path, writer: MetricsWriter
) -> None:
    writer.write([AGENT, replace(AGENT, agent=1, return_mean=5.0), SNAPSHOT])
    first = Shown()
    Follower(job(tmp_path), first).catch_up()
    assert (first.steps, first.snapshots) == ([10], [10])
    later = replace(AGENT, round=20, return_mean=1.0)
    writer.write([later])
    again = Shown()
    Follower(job(tmp_path), again).catch_up()
    assert (again.steps, again.snapshots) == ([20], [])
    # The other agent's row was shown before, and still counts in the population's values.
    assert again.logged[0][1]["population/E/return_mean"] == 3.0
    assert again.remembered == 4


def test_rounds_that_a_resumed_run_computes_again_are_not_shown_again(tmp_path: Path) -> None:
    """It goes back to its last checkpoint, and its file with it."""
    rows = [replace(AGENT, round=at) for at in (10, 20, 30)]
    path = tmp_path / METRICS_FILE
    path.write_text("".join(map(to_line, rows)))
    Follower(job(tmp_path), Shown()).catch_up()
    path.write_text("".join(map(to_line, rows[:1])))
    again = Shown()
    resumed = Follower(job(tmp_path), again)
    resumed.catch_up()
    with open(path, "a") as file:
        file.writelines(map(to_line, [*rows[1:], replace(AGENT, round=40)]))
    resumed.catch_up()
    assert again.steps == [40]


def test_a_follower_killed_before_its_note_shows_under_the_same_steps(
    tmp_path: Path, writer: MetricsWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W&B takes a step once: shown under another one, a row would be there twice."""
    writer.write([replace(AGENT, round=5)])
    Follower(job(tmp_path), Shown()).catch_up()
    writer.write([AGENT, replace(SCORE, round=10), replace(AGENT, round=15)])
    killed, resumed = Shown(), Shown()
    with monkeypatch.context() as patched:
        patched.setattr(Follower, "_note", lambda *_: None)
        Follower(job(tmp_path), killed).catch_up()
    Follower(job(tmp_path), resumed).catch_up()
    assert killed.logged == resumed.logged
    assert killed.steps == [10, 15]


def test_a_damaged_note_of_progress_means_from_the_start(
    tmp_path: Path, writer: MetricsWriter
) -> None:
    writer.write([AGENT])
    (job(tmp_path).folder / "progress.json").write_text("{")
    shown = Shown()
    Follower(job(tmp_path), shown).catch_up()
    assert shown.steps == [10]


def test_everything_written_before_the_stop_is_shown(tmp_path: Path, writer: MetricsWriter) -> None:
    shown, stop = Shown(), threading.Event()
    thread = threading.Thread(target=Follower(job(tmp_path), shown).follow, args=(stop,))
    thread.start()
    writer.write([AGENT])
    stop.set()
    thread.join(timeout=500)
    assert not thread.is_alive()
    assert (shown.steps, shown.finished) == ([10], True)


def test_the_follower_of_a_killed_run_is_waited_for(tmp_path: Path) -> None:
    held: list[IO[str]] = []
    with follower._wait_for_predecessor(tmp_path):
        successor = threading.Thread(
            target=lambda: held.append(follower._wait_for_predecessor(tmp_path)), daemon=True
        )
        successor.start()
        successor.join(1.0)
        assert held == []
    successor.join(60.0)
    assert len(held) == 1
    held[0].close()


def _tracking(run_dir: Path, **options: Any) -> Tracking:
    config = TrainConfig(
        envs=("E",), agents=2, run_dir=run_dir, engine="inprocess", wandb="disabled",
        tracking=TrackingOptions(tensorboard=True),
    )  # fmt: skip
    return Tracking(replace(config, **options), "run-1")


def _follower(tracking: Tracking) -> psutil.Process:
    """The process of the only tracker: not whichever is found, earlier ones may still end."""
    (only,) = tracking._followers
    assert only._process is not None
    return psutil.Process(only._process.pid)


def test_wandbs_own_switch_leaves_no_tracker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    tracking = _tracking(tmp_path, wandb="offline", tracking=TrackingOptions())
    assert not tracking._followers
    tracking.close(timeout=300)


def test_a_followers_death_is_one_line_and_nothing_else(
    tmp_path: Path, writer: MetricsWriter, caplog: pytest.LogCaptureFixture
) -> None:
    tracking = _tracking(tmp_path)
    _follower(tracking).kill()
    writer.write([AGENT])
    tracking.take([AGENT])
    tracking.close(timeout=300)
    tracking.close(timeout=300)
    assert [record.getMessage() for record in caplog.records] == [
        f"tensorboard: ended with exit code -9, see {tmp_path}/tensorboard/follower.log"
    ]


def test_a_follower_that_is_ended_with_its_run_says_what_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """`ray job stop` ends all processes of a run: its log says nothing that helps."""
    tracking = _tracking(tmp_path)
    _follower(tracking).terminate()
    tracking.close(timeout=300)
    assert [record.getMessage() for record in caplog.records] == [
        "tensorboard: ended by SIGTERM; a run that goes on sends what is missing"
    ]


def test_a_follower_that_hangs_is_ended(
    tmp_path: Path, writer: MetricsWriter, caplog: pytest.LogCaptureFixture
) -> None:
    tracking = _tracking(tmp_path)
    process = _follower(tracking)
    process.suspend()
    tracking.close(timeout=0.2)
    assert not psutil.pid_exists(process.pid)
    assert "tensorboard: did not end in time and was ended" in caplog.text


def test_no_disk_for_a_tracker_is_a_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "tensorboard").write_text("a file where the folder should be")
    tracking = _tracking(tmp_path)
    tracking.poll()
    tracking.close()
    assert [record.getMessage() for record in caplog.records] == [
        "tensorboard: not started (File exists)"
    ]


def test_a_killed_drivers_follower_shows_the_rest_and_ends(
    tmp_path: Path, writer: MetricsWriter
) -> None:
    """Its standard input closes, as at any end of the driver."""
    tracking = _tracking(tmp_path)
    writer.write([AGENT])
    process = _follower(tracking)
    tracking._followers[0].release()
    process.wait(timeout=500)  # at the lowest priority of a busy machine
    progress = json.loads((tmp_path / "tensorboard" / "progress.json").read_bytes())
    assert progress == {"step": 10, "round": 10}
    tracking.close()


def test_a_failing_endpoint_is_one_line_and_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no Ray here, so that the endpoint cannot even be found."""
    from metagenrl.tracking import prometheus

    def no_ray() -> list[str]:
        raise RuntimeError("no Ray")

    monkeypatch.setattr(prometheus, "endpoints", no_ray)
    tracking = _tracking(tmp_path, engine="ray", tracking=TrackingOptions())
    tracking.take([AGENT])
    assert [record.getMessage() for record in caplog.records] == [
        "prometheus: RuntimeError('no Ray'); training goes on without it"
    ]
