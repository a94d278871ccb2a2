"""Signals where no command listens to them, or is imported yet: their exit code is the same."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[3]
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


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_before_anybody_listens(name: str, code: int) -> None:
    assert program(f"told(signal.{name}); print('never')") == (code, "")


def test_ctrl_c_before_anybody_listens() -> None:
    assert program("told(signal.SIGINT); print('never')") == (130, "interrupted\n")


def test_ctrl_c_that_comes_twice_within_a_second_is_one() -> None:
    command = """
    try:
        told(signal.SIGINT)
    finally:
        told(signal.SIGINT)
        print("cleaned")
"""
    assert program(command) == (130, "cleaned\ninterrupted\n")


INTERRUPTED_AT = """
import importlib.abc, os, runpy, signal, sys

class CtrlC(importlib.abc.MetaPathFinder):
    def find_spec(self, name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, CtrlC())
sys.argv[1:] = ["objective", "list"]
"""


@pytest.mark.parametrize("module", ["metagenrl.commands.shell.variables", "tyro"])
@pytest.mark.parametrize(
    "start",
    ["from metagenrl.__main__ import main; main()", "runpy.run_path('train.py', None, '__main__')"],
    ids=["metagenrl", "train.py"],
)
def test_ctrl_c_while_a_command_is_imported(start: str, module: str) -> None:
    code = INTERRUPTED_AT.format(module=module) + start
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


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


@pytest.mark.parametrize(("given", "code"), [(0, 1), (3, 3)])
def test_an_exit_that_nobody_asked_for_is_no_success(given: int, code: int) -> None:
    line = f"error: ended by os._exit({given}), which something in this process called\n"
    assert program(f"os._exit({given})") == (code, line)


def test_a_copy_of_the_process_ends_as_it_likes() -> None:
    command = """
    copy = os.fork()
    if not copy:
        os._exit(0)
    print(os.waitpid(copy, 0)[1], flush=True)
    return 0"""
    assert program(command) == (0, "0\n")


@pytest.mark.parametrize(
    ("left", "what"),
    [
        ("threading.Thread(target=time.sleep, args=(600,)).start()", "threads (Thread-1 (sleep))"),
        ("atexit.register(time.sleep, 600)", "what runs at its exit"),
    ],
)
def test_what_an_environment_leaves_keeps_no_finished_command(left: str, what: str) -> None:
    short = "import threading, time, metagenrl.commands.shell.program as p; p.LAST_WAIT = 0.5"
    code, out = program(f"{left}; print('done'); return 3", before=short)
    assert code == 3
    assert out.splitlines() == [
        "done",
        f"the command is over, {what} kept its process for 0.5 s: ended",
    ]
