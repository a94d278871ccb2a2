"""Processes that carry out a job which they get on standard input: how they start and end.

A process's standard input stays open as long as the one that started it lives, however that ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen

import psutil

from metagenrl.base.descriptors import far_copy

_STDIN = 0


def start_process(module: str, job: str, log: Path) -> Popen[bytes]:
    """`python -m MODULE` with the job as its first line of input; what it says goes to `log`.

    Its standard input stays open: that it closes tells the process that we have ended, however.
    Raises `OSError` where the machine has no room for it.
    """
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        # What can be imported here can be there: environments may live in the user's own modules.
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
    }
    with open(log, "ab") as output:
        process = Popen(
            [sys.executable, "-P", "-m", module],
            stdin=PIPE,
            stdout=output,
            stderr=STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C comes to us alone, and we end it
        )
    assert process.stdin is not None
    try:
        with contextlib.suppress(BrokenPipeError):  # it is dead already; its end tells why
            process.stdin.write(job.encode() + b"\n")
            process.stdin.flush()
    except BaseException:  # Ctrl-C while the pipe was full
        kill_session(process)
        raise
    return process


def kill_session(process: Popen[bytes]) -> None:
    """Kill a process that was started with a session of its own, and what it has started.

    Of one that has ended already only those in its session are found.
    """
    started: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        started = psutil.Process(process.pid).children(recursive=True)
    with contextlib.suppress(OSError):  # all of them have ended
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    for each in started:
        with contextlib.suppress(psutil.Error):
            each.kill()
    process.wait()


def read_job() -> bytes:
    """In such a process: its job, the first line of its input."""
    with open(_STDIN, "rb", buffering=0, closefd=False) as stdin:
        return stdin.readline()


def when_parent_ends(act: Callable[[], object]) -> None:
    """In such a process, once it has its job: call `act`, in a thread, when the parent ends.

    Its standard input is empty from then on: an environment that asks something (`input()`,
    `breakpoint()`) gets an exception, where it would wait for ever.
    """
    pipe = far_copy(_STDIN)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, _STDIN)
    os.close(nothing)

    def watch() -> None:
        # os.read and not sys.stdin: a buffered reader's lock, held here, fails the normal exit.
        while os.read(pipe, 1):
            pass
        act()

    threading.Thread(target=watch, daemon=True).start()
