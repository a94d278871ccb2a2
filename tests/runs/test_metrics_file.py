"""metrics.jsonl: kills, full disks and resumes."""

import dataclasses
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from metagenrl.runs import metrics_file as metrics_module
from metagenrl.runs.metrics_file import MetricsWriter, iter_rows, read_metrics, rows_of_kind
from metagenrl.runs.names import METRICS_FILE
from metagenrl.runs.row_codec import to_line
from metagenrl.runs.rows import AgentRow, EventRow, ObjectiveRow

OBJECTIVE = ObjectiveRow(
    time=1.5, round=1, version=1, contributors=4, gradient_norm=0.5, update_norm=0.1,
    alpha_norm=18.0, cosine=0.25, cosine_by_env={}, accepted=40, rejected=2, stale=1, duplicate=1,
    agent_steps=80, agent_steps_per_s=100.0,
)  # fmt: skip
AGENT = AgentRow(
    time=1.5, round=1, version=1, agent=0, env="E", incarnation=0, steps=2, life=0, life_steps=2,
    state="learning", episodes=0, return_mean=None, return_last=None, episode_length=None, q=0.5,
    td_loss=1.0, objective_loss=2.0, policy_gradient_norm=0.25, gradient_norm=80.0,
    value_after=0.125, lag=0, restarts=0,
)  # fmt: skip


def event(round: int, message: str = "") -> EventRow:
    return EventRow(0.0, round, "checkpoint", None, message)


def rounds(path: Path) -> list[int]:
    return [row.round for row in iter_rows(path)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / METRICS_FILE


def test_rows_of_all_kinds_come_back_in_order(path: Path) -> None:
    writer = MetricsWriter(path)
    later = dataclasses.replace(AGENT, round=2)
    writer.write([AGENT, OBJECTIVE])
    writer.write([later, event(2)])
    metrics = read_metrics(path.parent)
    assert metrics.agents == [AGENT, later]
    assert metrics.objective == [OBJECTIVE]
    assert metrics.events == [event(2)]


def test_a_run_without_rows_has_none(tmp_path: Path) -> None:
    assert read_metrics(tmp_path).agents == []


def test_sigkill_loses_no_row_that_was_written(path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from metagenrl.runs.metrics_file import MetricsWriter\n"
        "from metagenrl.runs.rows import EventRow\n"
        "MetricsWriter(Path(sys.argv[1])).write([EventRow(0.0, 5, 'x', None, '')])\n"
        "print('written', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        os.kill(process.pid, signal.SIGKILL)
    assert rounds(path) == [5]


def test_what_an_editor_does_to_a_file_loses_no_row(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = to_line(event(1)) + to_line(event(2))
    path.write_text("\ufeff" + rows.removesuffix("\n"), encoding="utf-8")
    assert rounds(path) == [1, 2]
    assert [row.round for row in rows_of_kind(path, "event")] == [1, 2]
    assert not caplog.messages


def test_a_half_written_line_is_dropped_and_never_continued(path: Path) -> None:
    path.write_text(to_line(event(1)) + to_line(event(2))[:-20])
    assert rounds(path) == [1]
    MetricsWriter(path).write([event(3)])
    assert rounds(path) == [1, 3]
    assert path.read_text().count("\n") == 2


def test_a_file_that_is_one_long_half_line_is_emptied(path: Path) -> None:
    path.write_text("x" * 100_000)
    MetricsWriter(path).write([event(3)])
    assert path.read_text() == to_line(event(3))


def test_truncate_after_keeps_earlier_rows_to_the_byte(path: Path) -> None:
    writer = MetricsWriter(path)
    writer.write([event(1, "ä"), dataclasses.replace(AGENT, round=2)])
    kept = path.read_bytes()
    writer.write([event(3), dataclasses.replace(OBJECTIVE, round=4)])
    with path.open("a") as file:
        file.write('{"kind": "ev')
    writer.truncate_after(2)
    assert path.read_bytes() == kept
    writer.write([event(3, "again")])
    assert [row.message for row in read_metrics(path.parent).events] == ["ä", "again"]
    assert list(path.parent.iterdir()) == [path]  # no temporary file


def test_truncate_after_is_all_or_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    writer = MetricsWriter(path)
    writer.write([event(1), event(2)])

    def killed(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", killed)
    writer.truncate_after(1)
    assert rounds(path) == [1, 2]
    assert "No space left on device" in caplog.text


def test_truncate_after_without_a_file_makes_none(path: Path) -> None:
    MetricsWriter(path).truncate_after(3)
    assert not path.exists()


def test_damaged_lines_are_skipped_with_a_warning(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text(to_line(event(1)) + "garbage\n" * 9 + to_line(event(2)))
    assert rounds(path) == [1, 2]
    assert "line 2 is skipped" in caplog.text
    assert caplog.messages[3:] == [f"{path}: 6 more lines are skipped"]


def test_a_disk_that_is_full_for_a_while(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A raw write takes what still fits, then fails: no torn row may stay."""
    room = [400]

    class SmallDisk(metrics_module.io.FileIO):
        def write(self, data) -> int:
            size = min(room[0], len(data))
            if size == 0:
                raise OSError(28, "No space left on device")
            room[0] -= size
            return super().write(data[:size])

    monkeypatch.setattr(metrics_module.io, "FileIO", SmallDisk)
    writer = MetricsWriter(path)
    with caplog.at_level(logging.WARNING):
        writer.write([event(1)])
        writer.write([event(2), AGENT])  # does not fit
        assert path.read_text() == to_line(event(1))
        writer.write([event(3), AGENT])
        room[0] = 10_000
        writer.write([event(4)])
        writer.write([event(5)])
    assert rounds(path) == [1, 2, 1, 3, 1, 4, 5]
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert "No space left on device" in messages[0]
    assert "no row is missing" in messages[1]


def test_a_folder_in_the_way_stops_nothing(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.mkdir()
    writer = MetricsWriter(path)
    writer.write([event(1)])
    writer.write([event(2)])
    assert len(caplog.records) == 1
    path.rmdir()
    writer.close()
    assert rounds(path) == [1, 2]
    assert writer.lost == 0


def test_rows_that_wait_are_bounded(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(metrics_module, "WAITING_BYTES", 3 * len(to_line(event(1))))
    path.mkdir()
    writer = MetricsWriter(path)
    for number in range(1, 6):
        writer.write([event(number)])
    path.rmdir()
    writer.write([event(6)])
    assert rounds(path) == [3, 4, 5, 6]
    assert "2 rows are missing" in caplog.records[-1].getMessage()
