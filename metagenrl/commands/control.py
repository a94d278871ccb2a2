"""`metagenrl scale`, `status`, `pause`, `resume` and `stop`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from rich.text import Text

from metagenrl.base.checks import UsageError
from metagenrl.base.console import table_console
from metagenrl.base.files.folder_lock import holder_of, is_held
from metagenrl.cluster.control.claim import GoesOnElsewhere
from metagenrl.cluster.control.desk import PopulationStatus, Remote, Request
from metagenrl.cluster.control.reach import reach
from metagenrl.cluster.view.from_folder import PublishedStatus
from metagenrl.runs.config.reference import (
    PauseConfig,
    ResumeConfig,
    RunReference,
    ScaleConfig,
    StopConfig,
)
from metagenrl.runs.folder import resume_command
from metagenrl.runs.names import CONFIG_FILE
from metagenrl.runs.resume import training_config

_ACTIONS: dict[type[RunReference], Any] = {
    PauseConfig: "pause",
    ResumeConfig: "resume",
    StopConfig: "stop",
}
PIPE_WIDTH = 120
"""Columns where the output is a pipe, whose width nobody knows."""
TALL = 10_000
"""Lines, so that there is always a row for each agent."""


def control(config: RunReference) -> int:
    """Carry out one command; 0 where the population did it, 1 where it did not or is not there.

    Raises `UsageError` where it refused.
    """
    if _finished(Path(config.run)):
        longer = f"{resume_command(config.run)} --steps N"
        print(f"{config.run}: this run has finished; to train longer: {longer}", file=sys.stderr)
        return 1
    try:
        remote = reach(config)
        status = remote.status()
        if status is None or status.condition == "ended":
            raise ConnectionError("nothing answers")
        request = _request(config)
        if request is None:
            show(status)
            return 0
        return _ask(remote, request, config.timeout)
    except GoesOnElsewhere as error:
        print(f"{config.run}: not going on ({error})", file=sys.stderr)
        return 1
    except ConnectionError as error:
        print(f"{config.run}: {_silent(config, error)}", file=sys.stderr)
        return 1


def _finished(run: Path) -> bool:
    """Whether it has taken all its steps, and nobody trains it for longer."""
    if not (run / CONFIG_FILE).is_file() or is_held(run):
        return False
    return PublishedStatus(run, training_config(run).agent_steps).look().finished


def _request(config: RunReference) -> Request | None:
    if isinstance(config, ScaleConfig):
        return Request("scale", config.agents, config.rejoin)
    action = _ACTIONS.get(type(config))
    return None if action is None else Request(action)


def _ask(remote: Remote, request: Request, timeout: float) -> int:
    answer = remote.ask(request, timeout)
    if answer is None:
        print(f"no answer in {timeout:g} s; it may still be carried out", file=sys.stderr)
        return 1
    if answer.outcome == "refused":
        raise UsageError(answer.message)
    print(answer.message, file=sys.stdout if answer.outcome == "done" else sys.stderr)
    return 0 if answer.outcome == "done" else 1


def _silent(config: RunReference, error: ConnectionError) -> str:
    """That nothing answers, and why: a run that starts, or has lost its mailbox, is there."""
    folder = Path(config.run)
    holder = holder_of(folder)
    if holder is not None:
        return f"does not answer just now ({error}); {holder} holds the folder, ask again"
    known = (folder / CONFIG_FILE).is_file()
    hint = f"; to go on with it: {resume_command(config.run)}" if known else ""
    return f"not going on ({error}){hint}"


def show(status: PopulationStatus) -> None:
    """Print the population as the live view of `metagenrl train` shows it."""
    from metagenrl.cluster.view.table import render

    console = table_console(PIPE_WIDTH)
    age = max(0.0, time.time() - status.time)
    line = f"{status.condition}   {status.working}/{status.present} agents at work"
    # The status is renewed between rounds; a long round makes it old.
    console.print(Text(f"{line}   {age:.0f} s ago" if age > 5 else line, style="bold"))
    if status.run.backends:
        console.print(f"computed by: {', '.join(status.run.backends)}")
    console.print(render(status.run, console.width, TALL))
