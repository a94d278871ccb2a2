"""The live view: lines without a terminal, a table that fits with one, and no way to stop a run."""

import io
import logging
from dataclasses import replace

import pytest
from rich.console import Console

from metagenrl.analysis.number_text import number
from metagenrl.cluster.view.live import LINE_INTERVAL, LiveView, RunStatus
from metagenrl.cluster.view.status import status_line
from metagenrl.cluster.view.table import render
from metagenrl.runs.rate import RateMeter, duration, seconds_left
from metagenrl.runs.rows import AgentRow

ENVS = ("Pendulum-v1", "InvertedDoublePendulum-v5")


def agent(index: int, **changes) -> AgentRow:
    row = AgentRow(
        time=1.0, round=1, version=1, agent=index, env=ENVS[index % 2], incarnation=0, steps=123456,
        life=3, life_steps=777, state="learning", episodes=1, return_mean=-1234.5,
        return_last=None, episode_length=None, q=-17.25, td_loss=None, objective_loss=None,
        policy_gradient_norm=None, gradient_norm=0.0125, value_after=None, lag=0, restarts=0,
    )  # fmt: skip
    return replace(row, **changes)


def status(agents: int = 4, **changes) -> RunStatus:
    base = RunStatus("runs/x", 1200, 1199, 60.0, 2500, 10_000, 50.0, [])
    return replace(base, agents=[agent(i) for i in range(agents)], **changes)


def text(what: RunStatus, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    console.print(render(what, width, height))
    return console.file.getvalue().splitlines()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_line_has_progress_rate_and_each_environment() -> None:
    agents = [
        agent(0, return_mean=-100.0),
        agent(1, return_mean=None),
        agent(2, return_mean=-300.0),
    ]
    line = status_line(replace(status(), agents=agents))
    assert line.split(" | ") == [
        " 25%", "round 1200", "version 1199", "50 agent-steps/s", "0:01:00 gone", "0:02:30 left",
        "Pendulum-v1 -200", "InvertedDoublePendulum-v5 -",
    ]  # fmt: skip


def test_the_line_names_who_is_not_well() -> None:
    agents = [agent(0, state="failed"), agent(2, state="random"), agent(4)]
    assert status_line(replace(status(), agents=agents)).endswith("Pendulum-v1 -1234 (1 failed)")


def test_lines_are_rate_limited_and_built_only_when_shown() -> None:
    now, asked, lines = [0.0], [], []

    def current() -> RunStatus:
        asked.append(now[0])
        return status()

    with LiveView(io.StringIO(), lines.append, clock=lambda: now[0]) as view:
        for tick in range(31):
            now[0] = tick * LINE_INTERVAL / 10
            view.update(current)
        assert asked == [0.0, LINE_INTERVAL, 2 * LINE_INTERVAL, 3 * LINE_INTERVAL]
        view.update(current, force=True)
    assert len(lines) == 5


def test_no_control_characters_without_a_terminal() -> None:
    stream = io.StringIO()
    with LiveView(stream) as view:
        view.update(status)
        view.print("agent 3 restarted [1/5]")
    assert stream.getvalue() == f"{status_line(status())}\nagent 3 restarted [1/5]\n"


def test_a_row_per_agent_where_they_fit() -> None:
    lines = text(status(40), width=120, height=46)
    assert len(lines) <= 46
    assert lines[4].split()[0] == "0"
    assert lines[-1].split() == [
        "39", "InvertedDoublePendulum-v5", "123,456", "3", "777", "-1234", "-17.25", "0.0125", "0",
        "-", "-", "learning",
    ]  # fmt: skip


def test_a_row_per_environment_where_they_do_not() -> None:
    what = status(40)
    what = replace(what, agents=[*what.agents[:-1], agent(39, state="failed", return_mean=10.0)])
    lines = text(what, width=130, height=24)
    assert len(lines) == 6
    assert lines[-2].split()[:4] == ["Pendulum-v1", "20", "123,456", "-1234"]
    assert lines[-1].split()[:6] == [
        "InvertedDoublePendulum-v5", "20", "123,456", "-1172", "-1234", "10",
    ]  # fmt: skip
    assert lines[-1].rstrip().endswith("1 failed, 19 learning")


@pytest.mark.parametrize("width", [20, 30, 60, 80, 100, 160])
@pytest.mark.parametrize("height", [12, 60])
def test_narrow_terminals_cut_names_and_never_numbers(width: int, height: int) -> None:
    lines = text(status(40), width, height)
    assert max(map(len, lines)) <= width
    assert len(lines) <= height
    row = lines[-1].split()
    assert width < 60 or "123,456" in row
    assert "-1234" in row
    assert not any(cell.endswith("…") and cell[0] in "-0123456789" for cell in row)


def test_colour_only_for_what_is_unusual() -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system="standard")
    agents = [agent(0), agent(1, state="failed"), agent(2, state="restarting", restarts=2)]
    console.print(render(replace(status(), agents=agents), 120, 40))
    output = console.file.getvalue().splitlines()
    assert "\x1b[" not in output[-3]
    assert "\x1b[1;31mfailed" in output[-2]
    assert "\x1b[33mrestarting (2 restarts)" in output[-1]


def test_the_terminal_keeps_a_return_until_the_next_but_not_into_a_new_life() -> None:
    lines: list[str] = []
    with LiveView(io.StringIO(), lines.append) as view:
        for changes in (
            {"return_mean": 5.0},
            {"return_mean": None},
            {"return_mean": None, "life": 4},
        ):
            agents = [agent(0, **changes)]
            view.update(lambda agents=agents: replace(status(), agents=agents), force=True)
    assert [line.rpartition(" ")[2] for line in lines] == ["5", "5", "-"]


def test_finished_intervals_are_remembered_until_the_view_is_due() -> None:
    """Where every interval ends with an episode, the running one has no return to show."""
    lines: list[str] = []
    with LiveView(io.StringIO(), lines.append) as view:
        view.remember([agent(0, return_mean=7.0), agent(0, return_mean=None)])
        agents = [agent(0, return_mean=None)]
        view.update(lambda: replace(status(), agents=agents), force=True)
    assert lines[0].endswith(" 7")


def test_in_a_terminal_a_table_and_lines_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("LINES", "40")
    stream = Terminal()
    log = logging.getLogger("test_live")
    with LiveView(stream) as view:
        log.addHandler(view.handler())
        view.update(status)
        log.warning("agent 3 restarted [1/5]")
    shown = stream.getvalue()
    assert "agent 3 restarted [1/5]\n" in shown.replace("\r", "")
    assert "InvertedDoublePendulum-v5" in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1  # the cursor comes back


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    with LiveView(stream) as view:
        view.update(status)
    assert stream.getvalue() == f"{status_line(status())}\n"


def test_a_broken_stream_is_logged_once_and_stops_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    with LiveView(Broken()) as view:
        logging.getLogger("metagenrl").addHandler(handler := view.handler())
        for _ in range(3):
            view.update(status, force=True)
            view.print("hello")
        logging.getLogger("metagenrl").removeHandler(handler)
    assert len(caplog.records) == 1
    assert "Broken pipe" in caplog.text


def test_the_same_warning_is_shown_three_times() -> None:
    stream = io.StringIO()
    with LiveView(stream) as view:
        logger = logging.getLogger("metagenrl")
        logger.addHandler(handler := view.handler())
        for number in range(50):
            logger.warning("an episode is dropped")
            logger.warning("number %d", number % 25)
        logger.removeHandler(handler)
    lines = stream.getvalue().splitlines()
    told = "an episode is dropped"
    of_it = [line for line in lines if told in line]
    assert of_it == [told, told, f"{told} (from now on in run.log alone)"]
    assert len(lines) == 3 + 50


def test_the_rate_is_that_of_the_last_minute() -> None:
    meter = RateMeter(window=10.0)
    assert meter.add(0.0, 0) is None
    assert meter.add(10.0, 1000) == 100.0
    for second in range(11, 31):
        rate = meter.add(float(second), 1000 + (second - 10) * 10)
    assert rate == pytest.approx(10.0)


def test_the_rate_survives_agents_that_go_back() -> None:
    meter = RateMeter(window=10.0)
    meter.add(0.0, 1000)
    assert meter.add(1.0, 500) is None
    assert meter.add(2.0, 600) == 100.0


def test_seconds_left_and_durations() -> None:
    assert seconds_left(250, 1000, 50.0) == 15.0
    assert seconds_left(250, 1000, None) is None
    assert seconds_left(250, 1000, 0.0) is None
    assert seconds_left(1001, 1000, 1.0) == 0.0
    assert [duration(s) for s in (None, 59.6, 3723.0, 180_000.0)] == [
        "?", "0:01:00", "1:02:03", "2d 02:00:00",
    ]  # fmt: skip


def test_numbers_are_short() -> None:
    values = (None, -0.0, 0.012345, 12.3456, -1234.56, 1_234_567.0, 0.000012)
    assert [number(value) for value in values] == [
        "-", "0", "0.01235", "12.35", "-1235", "1.23e+06", "1.20e-05",
    ]  # fmt: skip
