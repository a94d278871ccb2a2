"""`metagenrl top RUN`: the live table of a population that another process trains.

It only reads what the run publishes, so that it can come and go, and look at finished runs too.
Where the run's folder is on another machine, it asks the run itself, through Ray or Redis.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TextIO

from tyro.conf import Positional

from metagenrl.base.checks import require
from metagenrl.base.files.folder_lock import is_held
from metagenrl.cluster.control.desk import Remote
from metagenrl.cluster.control.reach import reach
from metagenrl.cluster.view.from_folder import PublishedStatus, Sighting
from metagenrl.cluster.view.status import status_line
from metagenrl.commands.parsing import parse, with_home
from metagenrl.objective_server.store.address import StoreAddress
from metagenrl.runs.config.reference import RunReference
from metagenrl.runs.config.train import StoreOption
from metagenrl.runs.config.yaml import build
from metagenrl.runs.folder import resume_command
from metagenrl.runs.rate import duration
from metagenrl.runs.resume import training_config

LOOKS = 3
"""Looks in a row that find nobody at work before the run counts as not going on."""
SILENCE = 60.0
"""Seconds without news after which the run is said to be silent."""


class StatusSource(Protocol):
    """Something that knows how a run is doing."""

    def look(self) -> Sighting:
        """The newest that is known."""
        ...


@dataclass(frozen=True)
class TopConfig:
    """Watch a running population from another terminal."""

    run: Positional[str]
    """Folder of a meta-training run, or its id (in run.json) where that is on another machine."""
    store: StoreOption = field(default_factory=StoreAddress)
    """The run's Redis, for a run that is asked by its id."""
    ray_address: str | None = None
    """HOST:PORT of the run's Ray cluster, for a run that is asked by its id; None: RAY_ADDRESS."""
    interval: float = 1.0
    """Seconds between two looks; without a terminal a line is written at each."""
    once: bool = False
    """Show the run as it is now, and end."""

    @property
    def asks(self) -> bool:
        """Whether the run is asked; else its folder is read."""
        return self.store.is_redis or self.ray_address is not None

    def __post_init__(self) -> None:
        require(0.1 <= self.interval < float("inf"), "interval", self.interval, "a number >= 0.1")


def top_config(argv: Sequence[str]) -> TopConfig:
    """The configuration of `metagenrl top`. Raises `UsageError`."""
    return build(TopConfig, with_home(parse(TopConfig, argv)))


def check_top(config: TopConfig) -> None:
    """Refuse what is neither a meta-training run's folder nor an id that can be asked for."""
    if not config.asks:
        training_config(Path(config.run))


def top(config: TopConfig, stream: TextIO | None = None) -> int:
    """Show the run until all its steps are taken or the user interrupts; 0."""
    stream = sys.stdout if stream is None else stream
    try:
        _watch(open_source(config), config, stream)
    except ConnectionError as error:
        hint = "" if config.asks else f"; to go on with it: {resume_command(config.run)}"
        print(f"{config.run}: not going on ({error}){hint}", file=sys.stderr)
        return 1
    return 0


def _watch(source: StatusSource, config: TopConfig, stream: TextIO) -> None:
    """Raises `ConnectionError` once nobody works in the folder any more."""
    alone = 0  # looks in a row at which nobody worked there: a run may be on its way
    with contextlib.ExitStack() as stack:
        show = stack.enter_context(_table(stream)) if stream.isatty() else _lines(stream)
        while True:
            alone = 0 if config.asks or is_held(Path(config.run)) else alone + 1
            sighting = source.look()
            show(sighting)
            if config.once or sighting.finished:
                return
            if alone >= LOOKS:
                raise ConnectionError("no process works in it")
            time.sleep(config.interval)


class AskedStatus:
    """The status that a running population gives when asked."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def look(self) -> Sighting:
        """Ask. Raises `ConnectionError` where nothing answers."""
        status = self._remote.status()
        if status is None:
            raise ConnectionError("nothing answers")
        silent = max(0.0, time.time() - status.time)
        return Sighting(status.run, silent, ended=status.condition == "ended")


def open_source(config: TopConfig) -> StatusSource:
    """Where to look for the run's status. Raises `ConnectionError` where nothing answers."""
    if not config.asks:
        run = Path(config.run)
        return PublishedStatus(run, training_config(run).agent_steps)
    reference = RunReference(run=config.run, store=config.store, ray_address=config.ray_address)
    return AskedStatus(reach(reference))


def _lines(stream: TextIO) -> Callable[[Sighting], None]:
    """A line at each look."""

    def show(sighting: Sighting) -> None:
        parts = [status_line(sighting.status), *_warnings(sighting)]
        print(" | ".join(parts), file=stream, flush=True)

    return show


@contextlib.contextmanager
def _table(stream: TextIO) -> Iterator[Callable[[Sighting], None]]:
    """The table of `train`, redrawn in place."""
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    from metagenrl.cluster.view.table import render

    console = Console(file=stream)
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:

        def show(sighting: Sighting) -> None:
            size, warnings = console.size, _warnings(sighting)
            table = render(sighting.status, size.width, size.height - len(warnings))
            lines = [Text(line, style="yellow", no_wrap=True) for line in warnings]
            live.update(Group(table, *lines), refresh=True)

        yield show


def _warnings(sighting: Sighting) -> list[str]:
    """A line where the run has not been heard of for long."""
    if sighting.silent is None:
        return ["nothing published yet"]
    if sighting.finished or sighting.silent < SILENCE:
        return []
    return [f"no news for {duration(sighting.silent)}: stopped, or a round takes that long"]
