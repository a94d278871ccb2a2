"""The live view of a meta-training run: a table in a terminal, else a line now and then.

What goes wrong in here (a closed terminal, a broken pipe) is logged once and never stops the run.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from metagenrl.cluster.view.status import RunStatus, status_line

if TYPE_CHECKING:
    from rich.console import Console

    from metagenrl.runs.rows import AgentRow

TABLE_INTERVAL = 0.5
"""Seconds between two drawings of the table."""
REPEATS = 3
"""Times that the same warning is shown."""
LINE_INTERVAL = 10.0
"""Seconds between two lines where there is no terminal."""

logger = logging.getLogger(__name__)


class LiveView:
    """Shows a run on `stream`: as a table where it is a terminal, else line by line.

    A context manager; `update` is cheap enough to be called every round. Lines that are to appear
    while the table is shown go through `print` or `handler`.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        write_line: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`write_line` takes the lines instead of the stream where that is no terminal."""
        self._stream = sys.stderr if stream is None else stream
        self._write_line = write_line or self._to_stream
        self._clock = clock
        self._live: Any = None
        self._due = float("-inf")
        self._returns: dict[int, tuple[int, float]] = {}  # agent -> life, last known mean return
        self._broken = False

    def __enter__(self) -> LiveView:
        if self._stream.isatty():
            self._guard(self._open)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._guard(self._live.stop)
            self._live = None

    def update(self, status: Callable[[], RunStatus], force: bool = False) -> None:
        """Show the run as `status()` tells; called only where something is due to be shown."""
        now = self._clock()
        if self._broken or (now < self._due and not force):
            return
        self._due = now + (TABLE_INTERVAL if self._live is not None else LINE_INTERVAL)
        self._guard(lambda: self._show(self._remembered(status())))

    def print(self, text: str) -> None:
        """A line of its own, above the table."""
        if self._live is None:
            self._guard(lambda: self._write_line(text))
        else:
            self._guard(lambda: self._live.console.print(text, markup=False, highlight=False))

    def handler(self) -> logging.Handler:
        """A logging handler whose lines do not tear the table apart."""
        return _Handler(self)

    def _open(self) -> None:
        from rich.console import Console
        from rich.live import Live

        console: Console = Console(file=self._stream)
        if console.is_dumb_terminal:  # cannot move its cursor
            return
        live = Live(console=console, auto_refresh=False, vertical_overflow="crop")
        live.start()
        self._live = live

    def _show(self, status: RunStatus) -> None:
        if self._live is None:
            self._write_line(status_line(status))
            return
        from metagenrl.cluster.view.table import render

        size = self._live.console.size
        self._live.update(render(status, size.width, size.height), refresh=True)

    def remember(self, rows: Iterable[AgentRow]) -> None:
        """Note the returns of finished intervals, for when the running one has none yet."""
        for row in rows:
            if row.return_mean is not None:
                self._returns[row.agent] = (row.life, row.return_mean)

    def _remembered(self, status: RunStatus) -> RunStatus:
        """`status` with an agent's last return where its interval has seen no episode yet."""
        self.remember(status.agents)
        agents = []
        for row in status.agents:
            life, value = self._returns.get(row.agent, (row.life, None))
            agents.append(replace(row, return_mean=value) if life == row.life else row)
        return replace(status, agents=agents)

    def _to_stream(self, line: str) -> None:
        print(line, file=self._stream, flush=True)

    def _guard(self, action: Callable[[], None]) -> None:
        if self._broken:
            return
        try:
            action()
        except Exception as error:
            self._broken = True
            logger.warning("live view: %r; the run goes on without it", error)


class _Handler(logging.Handler):
    """Shows what is logged; the same line again and again, as of a broken environment, not."""

    def __init__(self, view: LiveView) -> None:
        super().__init__()
        self._view = view
        self._shown: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == __name__:  # what the view says of itself, it cannot show
            return
        text = self.format(record)
        self._shown[text] += 1
        if self._shown[text] < REPEATS:
            self._view.print(text)
        elif self._shown[text] == REPEATS:
            self._view.print(f"{text} (from now on in run.log alone)")
