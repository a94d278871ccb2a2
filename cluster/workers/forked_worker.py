"""A forked process becomes a worker of Ray, as if it had been started from nothing."""

from __future__ import annotations

import contextlib
import os
import resource
import runpy
import signal
import socket
import sys

import numpy as np

from metagenrl.cluster.workers.request import WorkerRequest
from metagenrl.cluster.workers.setup_worker import FORKED


def take_over(request: WorkerRequest, line: socket.socket) -> None:
    """What a process inherits: files, folder, process group, niceness, limits, blocked signals.

    The environment is there already, since it is the same for all that are forked. The process that
    asked stays until it is told, so that its group is still there.
    """
    for number, passed in enumerate(request.files):
        os.dup2(passed, number)
        os.close(passed)
    os.chdir(request.kind.folder)
    with contextlib.suppress(OSError):  # it ends with Ray all the same
        os.setpgid(0, request.group)
    os.setpriority(os.PRIO_PROCESS, 0, request.nice)
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write(request.first_to_go)
    for limit, soft, hard in request.limits:
        if resource.getrlimit(limit) != (soft, hard):
            resource.setrlimit(limit, (soft, hard))
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, request.blocked)
    line.sendall(FORKED)
    line.close()


def run(request: WorkerRequest) -> None:
    """Run Ray's `default_worker.py`, which returns when the worker's life is over.

    Global generators begin from the system's entropy in a new process. Python sees to its own in
    every fork.
    """
    import torch

    np.random.seed()
    torch.default_generator.seed()
    sys.argv = [request.kind.script, *request.arguments]
    runpy.run_path(request.kind.script, run_name="__main__")
