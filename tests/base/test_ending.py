"""Signals that are one request or two, and signals where no command listens to them.

The latter's exit code is the same, and nothing is printed.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from typing import NoReturn

import psutil
import pytest

from metagenrl.base.ending import SIGNALS, EndedBySignal, Ending

CHILD = """
import atexit, os, signal, subprocess, sys
from metagenrl.base.ending import Ending
from metagenrl.commands import main as program

def told(*signals):
    for signum in signals:
        os.kill(os.getpid(), signum)

def command(words):
    {command}

program._dispatch = command
{before}
program.main()
"""
LISTENS = """
    with Ending().listening() as ending, ending.finishing("a checkpoint is written"):
        told(signal.SIGTERM)
    {after}
    return ending.code
"""


def program(command: str, before: str = "") -> tuple[int, str]:
    """The exit code of a program whose command is this, and what it printed."""
    script = CHILD.format(command=command.strip(), before=before)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


class EndedAtOnceError(Exception):
    """Where the process would have ended."""


class Lasting(Ending):
    """An ending whose process outlasts it, with a clock that is set by hand."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: self.now)
        self.now = 100.0

    def at_once(self, line: str, code: int) -> NoReturn:
        raise EndedAtOnceError(line, code)


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_that_comes_twice_within_a_second_is_one_request(signum: int) -> None:
    ending = Lasting()
    with ending.listening(), ending.finishing("all of it"):
        signal.raise_signal(signum)
        ending.now += 0.9
        signal.raise_signal(signum)
    assert ending.code == 128 + signum


@pytest.mark.parametrize(
    ("later", "second"), [(1.1, signal.SIGTERM), (0.0, signal.SIGINT), (0.9, signal.SIGHUP)]
)
def test_a_later_signal_or_another_one_ends_at_once(later: float, second: int) -> None:
    ending = Lasting()
    with ending.listening(), ending.finishing("all of it"):
        signal.raise_signal(signal.SIGTERM)
        ending.now += later
        with pytest.raises(EndedAtOnceError, match="again: ended at once"):
            signal.raise_signal(second)


def test_a_signal_that_comes_twice_lets_a_command_clean_up() -> None:
    cleaned = []

    def end() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            cleaned.append(True)

    with Lasting().listening(), pytest.raises(EndedBySignal):
        end()
    assert cleaned


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_before_anybody_listens(name: str, code: int) -> None:
    assert program(f"told(signal.{name}); print('never')") == (code, "")


def test_a_second_signal_when_nobody_listens_any_more() -> None:
    code, out = program(LISTENS.format(after="told(signal.SIGTERM); print('never')"))
    assert (code, out.splitlines()) == (
        143,
        ["SIGTERM: a checkpoint is written (again: at once)"],
    )


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_second_signal_while_the_interpreter_ends(name: str) -> None:
    code, out = program(
        LISTENS.format(after="print('printed')"),
        before=f"atexit.register(told, signal.{name})",  # runs after what the program has last
    )
    assert code == 143
    assert out.splitlines() == ["printed", "SIGTERM: a checkpoint is written (again: at once)"]


def test_what_a_program_started_ends_with_it() -> None:
    command = """
    child = subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print(child.pid, flush=True)
    told(signal.SIGTERM)
"""
    code, out = program(command)
    assert code == 143
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(int(out)).wait(30)


def test_a_timer_that_still_runs_at_the_end_ends_nothing() -> None:
    left = "atexit.register(lambda: print(signal.getitimer(signal.ITIMER_REAL)))"
    command = "signal.setitimer(signal.ITIMER_REAL, 600); return 0"
    assert program(command, before=left) == (0, "(0.0, 0.0)\n")


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    command = "told(signal.SIGHUP); print('on'); return 0"
    assert program(command, before="signal.signal(signal.SIGHUP, signal.SIG_IGN)") == (0, "on\n")


@pytest.mark.parametrize(
    ("left", "what"),
    [
        ("threading.Thread(target=time.sleep, args=(600,)).start()", "threads (Thread-1 (sleep))"),
        ("atexit.register(time.sleep, 600)", "what runs at its exit"),
    ],
)
def test_what_an_environment_leaves_keeps_no_finished_command(left: str, what: str) -> None:
    short = "import threading, time, metagenrl.base.ending as ending; ending.LAST_WAIT = 0.5"
    code, out = program(f"{left}; print('done'); return 3", before=short)
    assert code == 3
    assert out.splitlines() == [
        "done",
        f"the command is over, {what} kept its process for 0.5 s: ended",
    ]
